"""What to do about an error of OPA's compiler: OPA says what is wrong, an author wants to know what to write."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from app.core.complaint import printable
from app.core.errors import Denied
from app.core.fault import Fault
from app.core.forbidden_builtins import FORBIDDEN_BUILTINS, WHY
from app.core.reason_codes import Reason

#: The first pattern that is found in a message says what helps.
_REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"`if` keyword is required",
        "older Rego: write `if` before the rule's body; `opa fmt --write --v0-v1` converts files, with the opa of "
        "`placet tools list`",
    ),
    (
        r"`contains` keyword is required",
        "older Rego: write `name contains value if …`; `opa fmt --write --v0-v1` converts files, with the opa of "
        "`placet tools list`",
    ),
    (r"import .* unused", "delete the import, or use it"),
    (r"must not shadow|shadows", "choose another name: this one hides an import, input or data"),
    (
        r"assigned var .* unused|declared var .* unused",
        "delete the variable, or write _ where its value does not matter",
    ),
    (r"unused argument", "write _ for the argument"),
    (r"var .* is unsafe", "give it a value in this rule with := or `some … in`, or import what it names"),
    (r"undefined ref: input", "the schema of the input has no such member: correct the reference, or the schema"),
    (r"undefined ref: data", "no rule and no schema has this name: correct the reference"),
    (r"undefined ref", "nothing has this name: correct the reference, or the schema that it is checked against"),
    (r"compile the schema", "the schema is no JSON schema: correct what it names"),
    (
        r"undefined schema",
        "in placet.yaml name a directory (schema: …), where schema.input is input.schema.json",
    ),
    (r"match error|invalid argument|operand", "the types do not fit: look at what each side can be"),
    (
        r"conflicting rules|multiple default rules|conflict",
        "rules of one name must be of one kind: all complete, or all `contains`",
    ),
    (r"recursive", "a rule may not depend on itself: split it"),
    (r"arity mismatch", "give the function the arguments that it takes"),
    (r"package expected|empty module", "a module begins with its package, such as `package payments.authz`"),
    (
        r"unexpected if keyword|expression cannot be used for rule head",
        "a rule is `name if { … }`, `name := value if { … }` or `name contains value if { … }`",
    ),
    (r"assigned above|declared above", "a variable has one value: choose another name"),
    (r"has a \$ref", "docs/authoring.md says what a schema may hold"),
    (
        r"unexpected .*token|illegal token|non-terminated",
        "OPA could not read on from here: look for what is missing just before",
    ),
)

#: The place before a compiler's message in a denial.
_PLACE = re.compile(r"(\S.*?\.rego:\d+):(\d+): ")

_UNDEFINED_FUNCTION = re.compile(r"undefined function (\S+)")


def remedy(code: str, message: str) -> str:
    """What to do about an error with OPA's `code` and `message`."""
    if called := _UNDEFINED_FUNCTION.search(message):
        if called[1] in FORBIDDEN_BUILTINS:
            return (
                f"a policy may not call this builtin ({WHY[called[1]]}): docs/determinism.md says what to write "
                "instead; where the system allows it by name: --allow-builtin, or allowed_builtins in placet.yaml"
            )
        return "no such function: correct its name, or import its package; a builtin may need another OPA"
    for pattern, help_ in _REMEDIES:
        if re.search(pattern, message):
            return help_
    if code == "rego_parse_error":
        return "OPA could not read on from here: look for what is missing just before"
    return "correct it here; OPA's documentation explains the message"


def told(error: Mapping[str, Any], shown: Callable[[str], str]) -> str:
    """An error of OPA's as one line: `file:line:column: message; remedy`. `shown` gives its paths as an author's."""
    where = ""
    if location := error.get("location"):
        row, column = (max(1, int(location.get(name) or 1)) for name in ("row", "col"))
        file = location.get("file")
        where = f"{shown(str(file)) if file else 'the query'}:{row}:{column}: "
    message = printable(shown(str(error.get("message", "unknown error"))))[:500]
    return f"{where}{message}; {remedy(str(error.get('code', '')), message)}"


def fault(denied: Denied) -> Fault:
    """A denial as a fault: a compiler's, `file:line:column: message`, with what helps against it.

    Columns count from 1. OPA gives the end of a file 0.
    """
    place = _PLACE.match(denied.detail) if denied.reason == Reason.REGO_COMPILE else None
    if place is None:
        return Fault.of(denied)
    said = denied.detail[place.end() :]
    message = f"{place[1]}:{max(1, int(place[2]))}: {said}"
    return Fault(denied.reason, message, remedy("", said), denied.field)


def helped(denied: Denied) -> str:
    """What a denial says, and of a compiler's what helps, unless it says so already."""
    if "--v0-compatible" in denied.detail or not _PLACE.match(denied.detail):
        return denied.detail
    return fault(denied).denied().detail if denied.reason == Reason.REGO_COMPILE else denied.detail
