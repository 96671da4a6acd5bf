"""What goes wrong in the control plane, and the HTTP status each kind has (RFC 9457 documents are made in `api`)."""

from __future__ import annotations

from typing import ClassVar

from app.core.errors import PlacetError


class Problem(PlacetError):
    """A request that cannot be served. `members` are further members of the problem document."""

    status: ClassVar[int] = 400

    def __init__(self, detail: str, **members: str | int) -> None:
        super().__init__(detail)
        self.members = members


class Invalid(Problem):
    """The request is well-formed HTTP, but says something that cannot be."""

    status = 422


class Unauthenticated(Problem):
    """No token, or one that is unknown or revoked."""

    status = 401


class Forbidden(Problem):
    """The token may not do this."""

    status = 403


class NotFound(Problem):
    """There is no such thing."""

    status = 404


class Conflict(Problem):
    """It contradicts what is stored already."""

    status = 409


class TooLarge(Problem):
    """The body is larger than its limit."""

    status = 413


class TooMany(Problem):
    """Too many requests from one place."""

    status = 429


class Unavailable(Problem):
    """The database or the object store does not answer. Nothing was changed; try again."""

    status = 503
