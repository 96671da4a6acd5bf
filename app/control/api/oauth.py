"""`/oauth/token`: token exchange (RFC 8693). Open to everyone: the tokens in it say who asks.

Errors are those of RFC 6749, section 5.2, with `reason` where there is a code. While a warrant waits for its approval
the answer is `authorization_pending` (RFC 8628): ask again in the same words.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import APIRouter, Request
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from app.control import exchange, warrants
from app.control.api.access import PlaneOf
from app.control.exchange import Details, Presented
from app.control.plane import Plane
from app.control.problems import Forbidden, Invalid, NotFound
from app.control.rates import Rate
from app.control.store.columns import now
from app.control.warrants import Handed
from app.core import strict_json
from app.core.errors import Denied
from app.core.reason_codes import Reason

router = APIRouter(prefix="/oauth", tags=["oauth"])

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
_TAKEN = {JWT, "urn:ietf:params:oauth:token-type:access_token", "urn:ietf:params:oauth:token-type:id_token"}

#: RFC 6749, section 3.3.
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_MAX_FIELDS = 32
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

#: Anyone may ask, so that asking must not take the threads that sidecars need.
_AT_ONCE = CapacityLimiter(4)

#: Each address, and each pair of subject and actor.
_ADDRESSES, _SUBJECTS = Rate(50, 200), Rate(2, 30)

_DETAILS = TypeAdapter(list[Details])


class Refused(Exception):
    """An error of RFC 6749."""

    def __init__(self, error: str, description: str, members: Mapping[str, Any] | None = None, wait: int = 0) -> None:
        super().__init__(description)
        self.error, self.members, self.wait = error, members or {}, wait


@router.post("/token")
async def token(request: Request, plane: PlaneOf) -> Response:
    """Exchange identity tokens for a warrant; form-encoded, see RFC 8693, section 2."""
    body = await request.body()
    return await anyio.to_thread.run_sync(_answer, plane, request, body, limiter=_AT_ONCE)


def _answer(plane: Plane, request: Request, body: bytes) -> Response:
    try:
        _slow_down(_ADDRESSES.wait(request.client.host if request.client else ""))
        handed = _exchange(plane, _form(request.headers.get("content-type", ""), body))
        return _json(200, _granted(handed))
    except Refused as refused:
        document = _error(refused.error, str(refused), refused.members)
        return _json(429, document, {"Retry-After": str(refused.wait)}) if refused.wait else _json(400, document)


def _exchange(plane: Plane, form: Mapping[str, str]) -> Handed:
    presented = _presented(plane.settings.domain, form)
    try:
        return exchange.exchange(plane, presented, lambda who: _slow_down(_SUBJECTS.wait(who)))
    except Denied as denied:  # RFC 8693, section 2.2.2: whatever is wrong with a token
        raise Refused("invalid_request", denied.detail, {"reason": str(denied.reason)}) from denied
    except Forbidden as forbidden:
        raise Refused("access_denied", str(forbidden), forbidden.members) from forbidden
    except NotFound as missing:
        raise Refused("invalid_target", str(missing)) from missing
    except Invalid as invalid:
        raise Refused("invalid_request", str(invalid), invalid.members) from invalid


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """The parameters; none twice, and those without a value as if absent (RFC 6749, section 3.2)."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Refused("invalid_request", "the body must be application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise Refused("invalid_request", "the body is not form-encoded UTF-8 of a few parameters") from error
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form:
            target = name in {"audience", "resource"}
            raise Refused("invalid_target" if target else "invalid_request", f"{name} stands more than once")
        form[name] = value
    return {name: value for name, value in form.items() if value}


def _presented(home: str, form: Mapping[str, str]) -> Presented:
    if form.get("grant_type") != GRANT:
        raise Refused("unsupported_grant_type" if "grant_type" in form else "invalid_request", f"grant_type is {GRANT}")
    if form.get("requested_token_type", JWT) != JWT:
        raise Refused("invalid_request", f"only {JWT} is issued")
    if "resource" in form:
        raise Refused("invalid_target", "name the system in audience; resources stand in authorization_details")
    if "audience" not in form:
        raise Refused("invalid_request", "audience is missing: spiffe://DOMAIN/system/SYSTEM")
    system = exchange.system_of(home, form["audience"])
    if system is None:
        raise Refused("invalid_target", "audience names no system of this control plane")
    return Presented(system, _token(form, "subject_token", required=True), _token(form, "actor_token"), _details(form))


def _token(form: Mapping[str, str], name: str, *, required: bool = False) -> str:
    kind = form.get(f"{name}_type")
    if name not in form:
        if required or kind is not None:
            raise Refused("invalid_request", f"{name} is missing")
        return ""
    if kind not in _TAKEN:
        raise Refused("invalid_request", f"{name}_type must be one of {' '.join(sorted(_TAKEN))}")
    return form[name].removesuffix("\n").removesuffix("\r")  # as a file of it ends, and curl sends it


def _details(form: Mapping[str, str]) -> Details:
    """What is asked for: `scope` names actions alone; `authorization_details` (RFC 9396) can say all of it."""
    scopes = form["scope"].split(" ") if "scope" in form else None
    if scopes is not None and not all(map(_SCOPE.fullmatch, scopes)):
        raise Refused("invalid_scope", "scope holds actions, with one space between them")
    try:
        details = Details(actions=scopes)
        if "authorization_details" in form:
            listed = strict_json.loads(form["authorization_details"].encode("utf-8", "surrogatepass"))
            (details,) = _DETAILS.validate_python(listed)
    except (ValidationError, strict_json.StrictJSONError, ValueError) as error:
        named = "authorization_details" in form
        raise Refused(
            "invalid_authorization_details" if named else "invalid_scope",
            f"exactly one {exchange.DETAILS_TYPE} with known members is accepted" if named else "too many actions",
        ) from error
    if scopes is not None and details.actions not in (None, scopes):
        raise Refused("invalid_request", "scope and authorization_details name different actions")
    return details.model_copy(update={"actions": details.actions or scopes})


def _granted(handed: Handed) -> dict[str, Any]:
    """RFC 8693, section 2.2.1, and RFC 9396, section 7: what was granted is always said."""
    row = handed.row
    if handed.token is None or row.claims is None or row.expires_at is None:
        reasons = {"pending": Reason.WARRANT_UNAPPROVED, "revoked": Reason.WARRANT_REVOKED}
        status = warrants.status(row)
        error = "authorization_pending" if status == "pending" else "access_denied"
        raise Refused(
            error,
            f"the warrant {row.id} is {status}",
            {
                "reason": str(reasons.get(status, Reason.WARRANT_EXPIRED)),
                "warrant": row.id,
                "request_digest": row.request_digest,
            },
        )
    names = ("actions", "resources", "constraints", "uses", "depth", "cnf")
    details = {name: row.claims[name] for name in names if name in row.claims}
    actions = row.claims["actions"]
    return {
        "access_token": handed.token,
        "issued_token_type": JWT,
        "token_type": "N_A",
        "expires_in": max(0, math.floor((row.expires_at - now()).total_seconds())),
        **({"scope": " ".join(actions)} if all(map(_SCOPE.fullmatch, actions)) else {}),
        "authorization_details": [{"type": exchange.DETAILS_TYPE, **details}],
    }


def _slow_down(seconds: float) -> None:
    if seconds:
        wait = math.ceil(seconds)
        raise Refused("temporarily_unavailable", f"too many requests; wait {wait} s", wait=wait)


def _error(error: str, description: str, members: Mapping[str, Any]) -> dict[str, Any]:
    """The characters of a description are those of RFC 6749, section 5.2."""
    text = re.sub(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]", "'", description)
    return {"error": error, "error_description": text[:1000], **members}


def _json(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, _NO_STORE | dict(headers or {}), "application/json")
