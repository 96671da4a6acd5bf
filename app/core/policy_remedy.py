"""What to do about an error of OPA's compiler: OPA says what is wrong, an author wants to know what to write."""

from __future__ import annotations

import re

from app.core.opa import FORBIDDEN_BUILTINS

#: The first pattern that is found in a message says what helps.
_REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"`if` keyword is required",
        "older Rego: write `if` before the rule's body; `opa fmt --write --v0-v1` converts files",
    ),
    (
        r"`contains` keyword is required",
        "older Rego: write `name contains value if …`; `opa fmt --write --v0-v1` converts",
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
)

_UNDEFINED_FUNCTION = re.compile(r"undefined function (\S+)")


def remedy(code: str, message: str) -> str:
    """What to do about an error with OPA's `code` and `message`."""
    if called := _UNDEFINED_FUNCTION.search(message):
        if called[1] in FORBIDDEN_BUILTINS:
            return "a policy may not call this builtin: docs/determinism.md says why, and what to write instead"
        return "no such function: correct its name, or import its package; a builtin may need another OPA"
    for pattern, help_ in _REMEDIES:
        if re.search(pattern, message):
            return help_
    if code == "rego_parse_error":
        return "OPA could not read on from here: look for what is missing just before"
    return "correct it here; OPA's documentation explains the message"
