"""Errors as problem documents (RFC 9457). A denial also carries `reason`, `step` and `field`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.control.problems import Problem
from app.core.complaint import fault, printable
from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason

MEDIA_TYPE = "application/problem+json"

#: The status of denials that are more than what is sent: they contradict what is stored, or there is nothing.
_STATUS = {
    Reason.BATCH_ROOT: 409,
    Reason.BATCH_GAP: 409,
    Reason.BATCH_FORK: 409,
    Reason.LINK_GAP: 409,
    Reason.LINK_FORK: 409,
    Reason.LINEAGE_BROKEN: 409,
    Reason.RECORD_UNSIGNED: 409,
    Reason.SIDECAR_EVICTED: 403,
    Reason.PROOF_MISSING: 404,
    Reason.RECORD_ERASED: 410,
    Reason.HOLD_ACTIVE: 409,
}


def response(error: Exception, headers: Mapping[str, str] | None = None) -> Response:
    """The problem document of an error."""
    status, detail, members = describe(error)
    return document(status, detail, members, headers)


def document(
    status: int, detail: str, members: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """A problem document. Non-ASCII is escaped: a detail may quote what no encoder takes."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **(members or {}),
    }
    return Response(json.dumps(body), status, headers, MEDIA_TYPE)


def describe(error: Exception) -> tuple[int, str, dict[str, Any]]:
    """Status, detail and further members of an error. What we did not foresee is told to nobody."""
    if isinstance(error, Denied):
        return _STATUS.get(error.reason, 422), error.detail, error.as_dict() | {"detail": error.detail}
    if isinstance(error, Problem):
        return error.status, str(error), dict(error.members)
    if isinstance(error, PlacetError):
        return 422, str(error), {}
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        at = [str(part) for part in first["loc"]]
        # `body` and `query` mean nothing to people. Of a body that is no JSON, its column comes next, and no name.
        named = at[1:] if at[1:] and isinstance(first["loc"][1], str) else at
        return 422, f"{printable('.'.join(named))[:200]}: {fault(first)}", {"field": ".".join(at)}
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), {}
    return 500, "internal error", {}
