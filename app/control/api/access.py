"""What a route needs: the control plane, and a token with a scope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from app.control.plane import Plane
from app.control.problems import Unauthenticated
from app.control.tokens import Access, Scope

#: Declares the token in the OpenAPI document; the gate checks it.
_bearer = HTTPBearer(auto_error=False, description="An API token, `placet_…`")


def _plane(request: Request) -> Plane:
    plane: Plane = request.app.state.plane
    return plane


PlaneOf = Annotated[Plane, Depends(_plane)]


def access_of(request: Request) -> Access:
    """Who is asking, as the gate found out."""
    access = getattr(request.state, "access", None)
    if not isinstance(access, Access):
        raise Unauthenticated("present an API token")
    return access


def needs(scope: Scope, *, everywhere: bool = False, sidecars: bool = False) -> Callable[..., Access]:
    """A dependency: the token has `scope` and, if it is bound, acts for the `system` and `sidecar` of the path.

    With `everywhere` a token of one system passes: the route itself then shows only what is its system's. With
    `sidecars` a token of one sidecar passes where the path names none: the route itself then compares, or need not.
    """

    def check(request: Request, _: Annotated[object, Depends(_bearer)]) -> Access:
        access = access_of(request)
        system, sidecar = request.path_params.get("system"), request.path_params.get("sidecar")
        access.require(scope, access.system if everywhere else system, access.sidecar if sidecars else sidecar)
        return access

    return check


def by(scope: Scope, *, everywhere: bool = False, sidecars: bool = False) -> object:
    """The annotation for a route's parameter of type `Access`."""
    return Depends(needs(scope, everywhere=everywhere, sidecars=sidecars))
