"""What a warrant covers: patterns of actions and resources, and constraints on the context.

A pattern is an exact string, or a prefix with one trailing `*`; `*` alone means everything. There are no other
wildcards, because with globs and regular expressions nobody can say whether one pattern lies within another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from app.core import strict_json
from app.core.complaint import complaint
from app.core.errors import UsageError

#: Integers that every JSON parser reads alike lie between this and its negative.
MAX_INTEGER = 2**53 - 1

Number = (
    Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
    | Annotated[float, Field(allow_inf_nan=False, ge=-1e300, le=1e300)]
)
#: A member of the request's context.
Member = Annotated[str, StringConstraints(min_length=1, max_length=128)]
_Text = Annotated[str, StringConstraints(max_length=512)]

_WRITTEN = re.compile(r"([^<>=]+?)\s*(<=|>=|=)\s*(.+)", re.DOTALL)


class Constraint(BaseModel):
    """What one member of the context must be: a number within bounds, or one of a list."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    at_most: Number | None = None
    at_least: Number | None = None
    one_of: Annotated[list[_Text | bool | Number], Field(min_length=1, max_length=64)] | None = Field(
        default=None, alias="in"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        bounded = self.at_most is not None or self.at_least is not None
        if bounded == (self.one_of is not None):
            raise ValueError("a constraint is at_most, at_least or both, or it is in")
        return self

    def holds(self, value: Any) -> bool:
        """Whether a context's `value` satisfies it. A value of another type never does."""
        if self.one_of is not None:
            return any(_same(value, accepted) for accepted in self.one_of)
        return (
            _is_number(value)
            and (self.at_most is None or value <= self.at_most)
            and (self.at_least is None or value >= self.at_least)
        )

    def is_within(self, parent: Constraint) -> bool:
        """Whether it is equal to `parent` or tighter, and of the same kind."""
        if parent.one_of is not None:
            return self.one_of is not None and all(parent.holds(value) for value in self.one_of)
        if self.one_of is not None:
            return False
        return (parent.at_most is None or (self.at_most is not None and self.at_most <= parent.at_most)) and (
            parent.at_least is None or (self.at_least is not None and self.at_least >= parent.at_least)
        )

    def document(self) -> dict[str, Any]:
        """The constraint as it stands in a warrant."""
        return self.model_dump(by_alias=True, exclude_none=True)

    def __str__(self) -> str:
        if self.one_of is not None:
            return "in " + ", ".join(value if isinstance(value, str) else str(value).lower() for value in self.one_of)
        bounds = [(">=", self.at_least), ("<=", self.at_most)]
        return " and ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)


#: By member of the context.
Constraints = Annotated[dict[Member, Constraint], Field(max_length=32)]
_CONSTRAINTS: TypeAdapter[dict[str, Constraint]] = TypeAdapter(Constraints)


def covers(patterns: Iterable[str], text: str) -> bool:
    """Whether a pattern covers `text`."""
    return any(text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern for pattern in patterns)


def covers_resource(patterns: Iterable[str], kind: str, identifier: str) -> bool:
    """Whether a pattern covers the resource. A type with a slash could pass for another type's id: it never is."""
    return "/" not in kind and covers(patterns, f"{kind}/{identifier}")


def beyond(patterns: Iterable[str], allowed: Sequence[str]) -> str | None:
    """The first of `patterns` that covers something which none of `allowed` covers; None when there is none."""
    return next((pattern for pattern in patterns if not _is_within(pattern, allowed)), None)


def _is_within(pattern: str, allowed: Iterable[str]) -> bool:
    if not pattern.endswith("*"):
        return covers(allowed, pattern)
    return covers((parent for parent in allowed if parent.endswith("*")), pattern[:-1])


def loosened(constraints: Mapping[str, Constraint], parent: Mapping[str, Constraint]) -> str | None:
    """The first member of the context for which `constraints` allow more than `parent`; None when there is none."""
    for member, bound in parent.items():
        repeated = constraints.get(member)
        if repeated is None or not repeated.is_within(bound):
            return member
    return None


def violated(constraints: Mapping[str, Constraint], context: Mapping[str, Any]) -> str | None:
    """The first constrained member that `context` lacks or that is out of bounds; None when there is none."""
    for member, bound in constraints.items():
        if member not in context or not bound.holds(context[member]):
            return member
    return None


def parse_constraints(written: Iterable[str]) -> dict[str, Constraint]:
    """Constraints as people write them: `amount<=100`, `amount>=1`, `host=a.example,b.example`.

    In a list, what reads as a JSON number or boolean is one; quotes make it text: `port=443,"8443"`. Bounds of one
    member add up. Raises `UsageError`.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in written:
        match = _WRITTEN.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"--constraint {text!r} is not MEMBER<=NUMBER, MEMBER>=NUMBER or MEMBER=VALUE,VALUE")
        member, sign, value = match.groups()
        if value.lstrip().startswith(("<", ">", "=")):
            raise UsageError(f"--constraint {text!r}: write {member}<=NUMBER, {member}>=NUMBER or {member}=VALUE,VALUE")
        kind = {"<=": "at_most", ">=": "at_least", "=": "in"}[sign]
        parts = found.setdefault(member, {})
        if kind in parts:
            raise UsageError(f"--constraint: {member}{sign} is given twice")
        parts[kind] = [_value(part) for part in value.split(",")] if kind == "in" else _value(value)
        if kind != "in" and not _is_number(parts[kind]):
            raise UsageError(f"--constraint {text!r}: {value.strip()!r} is not a number")
    return validated(found, "--constraint")


def validated(document: Mapping[str, Any], where: str) -> dict[str, Constraint]:
    """The constraints of a document. Raises `UsageError`, whose line begins with `where`."""
    try:
        return _CONSTRAINTS.validate_python(dict(document))
    except ValidationError as error:
        raise UsageError(f"{where}: {complaint(error)}") from error


def _value(written: str) -> Any:
    """A JSON number, boolean or quoted string; anything else is text as it stands."""
    text = written.strip()
    try:
        value = strict_json.loads(text.encode("utf-8", "surrogatepass"))
    except strict_json.StrictJSONError:
        return text
    return value if isinstance(value, str | bool | int | float) else text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    """Equality as OPA has it: 1 is 1.0, but true is not 1."""
    if _is_number(one) and _is_number(other):
        return bool(one == other)
    return type(one) is type(other) and bool(one == other)
