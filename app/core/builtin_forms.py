"""Builtins that a policy may call only in some forms, and what is wrong with the other forms.

Each was tried on OPA; docs/determinism.md says what came of it. A form is judged by the operands as they are written:
where a variable's value cannot be told, the call is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.core.rego_names import CLOCK, Names
from app.core.syntax_tree import dotted

#: A term of the syntax tree, `{"type": …, "value": …}`.
Term = Mapping[str, Any]
#: What each variable that a body declares is assigned, or None where that cannot be told.
Scope = Mapping[str, Term | None]

#: A shift by more bits than this makes numbers that no policy needs; one by very many stops OPA.
MAX_SHIFT = 1024

#: Builtins whose answer is never an array, so that it cannot bring a time zone along.
_NO_ARRAY = frozenset(
    {"abs", "bits.and", "ceil", "count", "div", "floor", "minus", "mul", "plus", "product", "rem", "round", "sum"}
    | {"time.add_date", "time.now_ns", "time.parse_duration_ns", "time.parse_ns", "time.parse_rfc3339_ns", "to_number"}
)

#: Layouts that OPA knows by name and that hold a zone's abbreviation.
_ABBREVIATED = {"UnixDate", "RFC822", "RFC850", "RFC1123"}

#: One verb of a format, as Go reads it.
_VERB = re.compile(r"%[-+# 0-9.*\[\]]*(.)", re.DOTALL)


@dataclass(frozen=True)
class Operand:
    """A term where it stands: `scopes` are the bodies around it, the innermost last."""

    term: Term
    scopes: tuple[Scope, ...]
    names: Names

    def resolved(self) -> Operand | None:
        """The term, or for a variable what it is assigned. None when that cannot be told."""
        if self.term["type"] != "var":
            return self
        name = self.term["value"]
        for depth in range(len(self.scopes), 0, -1):
            if name in self.scopes[depth - 1]:
                assigned = self.scopes[depth - 1][name]
                # A variable can only be assigned from what was declared before it, so this ends.
                return None if assigned is None else replace(self, term=assigned, scopes=self.scopes[:depth]).resolved()
        return None

    def literal(self, kind: str) -> Any:
        """The value, if it is a literal of that type (object, array, string, number), or None."""
        found = self.resolved()
        return found.term["value"] if found and found.term["type"] == kind else None

    def text(self) -> str | None:
        """The value of a constant string, or None."""
        value = self.literal("string")
        return value if isinstance(value, str) else None

    def items(self) -> list[Operand] | None:
        """The items of an array that is written out, or None."""
        found = self.resolved()
        if found is None or found.term["type"] != "array":
            return None
        return [replace(found, term=item) for item in found.term["value"]]

    def members(self) -> dict[str, Operand] | None:
        """The members of an object that is written out with constant names, or None."""
        found = self.resolved()
        if found is None or found.term["type"] != "object":
            return None
        pairs = found.term["value"]
        if any(name["type"] != "string" for name, _ in pairs):
            return None
        return {name["value"]: replace(found, term=value) for name, value in pairs}

    def utc(self) -> bool:
        """Whether this is surely a time in UTC: a number, or an array that says so."""
        items = self.items()
        return self.never_array() if items is None else len(items) > 1 and items[1].text() in ("UTC", "")

    def never_array(self) -> bool:
        """Whether this surely is no array."""
        found = self.resolved()
        if found is None:
            return False
        kind, value = found.term["type"], found.term["value"]
        if kind == "ref":
            return found.path() == CLOCK
        if kind != "call":
            return bool(kind == "number")
        called = dotted(value[0])
        if called is None or called.split(".", 1)[0] in self.names.paths:  # a function of that name hides the builtin
            return False
        if called == "min":  # the least of several is no array if one of them is a number: numbers come before arrays
            items = replace(found, term=value[1]).items()
            return any(item.never_array() for item in items or [])
        return called in _NO_ARRAY

    def path(self) -> str | None:
        """The path of a reference, with the module's import written out."""
        name = dotted(self.term)
        if name is None:
            return None
        head, _, rest = name.partition(".")
        if any(head in scope for scope in self.scopes):
            return None
        return f"{self.names.paths[head]}.{rest}" if head in self.names.paths else name


def _token(operands: Sequence[Operand]) -> str | None:
    constraints = operands[1].members()
    if constraints is None:
        return 'write the constraints out as an object with constant names, such as {"cert": …, "time": time.now_ns()}'
    if "time" not in constraints:
        return 'without "time" it reads a clock of its own; add "time": time.now_ns()'
    if "iss" in constraints:
        return 'with "iss" a token can stop OPA; compare the issuer afterwards'
    # The library reads the header before it verifies.
    if "alg" in constraints and not operands[1].names.ours:
        return '"alg" is not looked at for a token that OPA verified before; compare alg of the header that it gives'
    return None


def _certificates(operands: Sequence[Operand]) -> str | None:
    options = operands[1].members()
    if options is None or "CurrentTime" not in options:
        return 'without "CurrentTime" it reads a clock of its own; write the options out with "CurrentTime"'
    return None


def _zoned(operands: Sequence[Operand]) -> str | None:
    if operands[0].utc():
        return None
    return 'this could bring a time zone along, and zones differ between machines; write [ns, "UTC"]'


def _difference(operands: Sequence[Operand]) -> str | None:
    return _zoned(operands[:1]) or _zoned(operands[1:])


def _layout(operands: Sequence[Operand]) -> str | None:
    layout = operands[0].text()
    if layout is None:
        return "write the layout out"
    if "MST" in layout or layout in _ABBREVIATED:
        return "the meaning of a zone's abbreviation depends on the machine; use an offset, such as in RFC3339"
    return None


def _format(operands: Sequence[Operand]) -> str | None:
    text = operands[0].text()
    if text is None:
        return "write the format out: %p in it would give an address in memory"
    return "%p gives an address in memory" if "p" in _VERB.findall(text) else None


def _template(operands: Sequence[Operand]) -> str | None:
    text = operands[0].text()
    if text is None or "printf" in text:
        return "write the template out, and without printf, whose %p gives an address in memory"
    return None


def _glob(operands: Sequence[Operand]) -> str | None:
    delimiters = operands[1].resolved()
    texts = [item.text() for item in operands[1].items() or []]
    if delimiters is None or delimiters.term["type"] not in ("array", "null") or None in texts:
        return 'write the delimiters out, such as ["."], or null: OPA could take one pattern for another'
    if "-" in texts:
        return 'with the delimiter "-" OPA takes one pattern for another that it matched before; use regex.match'
    return None


def _shift(operands: Sequence[Operand]) -> str | None:
    bits = operands[1].literal("number")
    if bits is None or not 0 <= float(bits) <= MAX_SHIFT:
        return f"write the number of bits out, at most {MAX_SHIFT}: a large one stops OPA"
    return None


def _patch(operands: Sequence[Operand]) -> str | None:
    if _only_sets(operands[1].resolved()):
        return None
    items = operands[1].items()
    patches = [item.members() or {} for item in items or []]
    kinds = [patch["op"].text() if "op" in patch else None for patch in patches]
    if items is None or None in kinds:
        return 'write the patches out as objects with a constant op: to remove the path "" stops OPA'
    removals = [patch for patch, kind in zip(patches, kinds, strict=True) if kind == "remove"]
    if not all("path" in patch and patch["path"].text() for patch in removals):
        return 'write the path out as a string that is not empty: to remove the path "" stops OPA'
    return None


def _only_sets(patches: Operand | None) -> bool:
    """Whether this is a comprehension of patches which remove nothing: its op is written out, and not a variable."""
    if patches is None or patches.term["type"] != "arraycomprehension":
        return False
    head = patches.term["value"]["term"]
    pairs = head["value"] if head["type"] == "object" else []
    if any(name["type"] != "string" for name, _ in pairs):
        return False
    ops = [value for name, value in pairs if name["value"] == "op"]
    return len(ops) == 1 and ops[0]["type"] == "string" and ops[0]["value"] in ("add", "replace")


#: What is wrong with a call of the builtin, or None.
JUDGES: dict[str, Callable[[Sequence[Operand]], str | None]] = {
    "bits.lsh": _shift,
    "crypto.x509.parse_and_verify_certificates_with_options": _certificates,
    "glob.match": _glob,
    "io.jwt.decode_verify": _token,
    "json.patch": _patch,
    "sprintf": _format,
    "strings.render_template": _template,
    "time.add_date": _zoned,
    "time.clock": _zoned,
    "time.date": _zoned,
    "time.diff": _difference,
    "time.format": _zoned,
    "time.parse_ns": _layout,
    "time.weekday": _zoned,
}
