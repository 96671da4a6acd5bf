"""The form of a decision batch's predicate, member by member; docs/decision-batch.schema.json is made of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.core import statements
from app.core.targets import Digest

PREDICATE = f"{statements.PLACET}/decision-batch/v1"

#: Entries of one batch.
MAX_ENTRIES = 1000

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

_Decimal = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,17})$")]
_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
_Digests = Annotated[list[Digest], Field(max_length=MAX_ENTRIES)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Entries(_Part):
    """Which entries, by their numbers over the whole life of the sidecar's instance, from 0."""

    first: _Decimal
    count: _Decimal


class Bytes(_Part):
    """Which bytes of the record file: `last` is the first that is no longer part of the batch."""

    first: _Decimal
    last: _Decimal


class Predicate(_Part):
    """The predicate of a decision batch. Numbers are decimal strings; lists are sorted and name nothing twice."""

    sidecar: Annotated[str, StringConstraints(pattern=rf"^spiffe://[a-z0-9._-]{{1,255}}/sidecar/{_LABEL}/{_LABEL}$")]
    instance: _Word
    file: _Word
    entries: Entries
    bytes: Bytes
    root: _Hex
    previous: Digest | None
    allows: _Decimal
    denials: _Decimal
    others: _Decimal
    dropped: _Decimal
    policies: _Digests
    libraries: _Digests
    states: _Digests
    opa: Digest
    closed_at: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]


def schema() -> dict[str, Any]:
    """The JSON Schema of the predicate."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": PREDICATE,
        **Predicate.model_json_schema(),
    }
