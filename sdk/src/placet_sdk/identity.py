"""Whose request it is: a token, where it comes from, or how the caller stands for somebody else."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import Any

from placet_sdk import codes
from placet_sdk.errors import Doubt

#: A token, or the whole member: `{"token": …}`, with `"asserted": {"id": …}` or with `"certificate": [PEM, …]`.
Identity = str | Mapping[str, Any]
IdentitySource = Identity | Callable[[], Identity | None]
AsyncIdentitySource = Identity | Callable[[], Identity | Awaitable[Identity | None] | None]


class Own(Enum):
    """The type of `OWN`."""

    OWN = "own"


#: The client's own identity: what a call uses that says nothing. None at a call means nobody, so that a service which
#: hands on the token of a caller who has none does not ask in its own name.
OWN = Own.OWN

#: Bytes of a token file.
_MAX_TOKEN = 16 * 1024

#: The bearer token of the request that is being served. "" when it carries none; None outside of a request.
bearer_token: ContextVar[str | None] = ContextVar("placet_bearer_token", default=None)


class TokenFile:
    """A token in a file that somebody else keeps fresh, such as Kubernetes' projected tokens. Read for each request."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def __call__(self) -> str:
        """The token. Raises Doubt, which becomes a denial."""
        try:
            with self._path.open("rb") as file:
                raw = file.read(_MAX_TOKEN + 1)
            token = raw.decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Doubt(codes.IDENTITY_MISSING, f"no token in {self._path}: {type(error).__name__}") from error
        if not token or len(raw) > _MAX_TOKEN:
            raise Doubt(codes.IDENTITY_MISSING, f"{self._path} is empty or longer than {_MAX_TOKEN} bytes")
        return token


def request_identity() -> str | None:
    """The bearer token of the HTTP request that `PlacetMiddleware` is serving. Give it as `identity=`.

    None for a request without one: it is asked about all the same, so that the denial is recorded.
    """
    token = bearer_token.get()
    if token is None:
        raise Doubt(codes.IDENTITY_MISSING, "there is no HTTP request that PlacetMiddleware serves")
    return token or None


def resolve(source: IdentitySource | None) -> dict[str, Any] | None:
    """The `identity` member of a request, or None for a request without. Raises Doubt."""
    return _member(source() if callable(source) else source)


async def resolve_async(source: AsyncIdentitySource | None) -> dict[str, Any] | None:
    """As `resolve`; the source may have to be awaited."""
    found = source() if callable(source) else source
    return _member(await found if inspect.isawaitable(found) else found)


def _member(identity: Any) -> dict[str, Any] | None:
    if identity is None:
        return None
    if isinstance(identity, str):
        return {"token": identity}
    if isinstance(identity, Mapping):
        return dict(identity)
    raise Doubt(codes.IDENTITY_MISSING, f"the identity is of type {type(identity).__name__}")
