"""The rules of in-toto layouts: which may be declared, and whether they hold. in-toto's own code applies them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: in-toto keeps what it says about a rule that does not hold in one place for the whole process.
_one_at_a_time = threading.Lock()

#: Members that every layout or step has, with the values that say nothing here.
_OF_LAYOUT = {"_type": ("layout",), "inspect": ([],), "keys": ({},)}
_OF_STEP = {"_type": ("step",), "pubkeys": ([],), "threshold": (0, 1), "expected_command": ([],)}
_WHY = {
    "inspect": "nothing is inspected when a step is noted",
    "keys": "steps are signed by their sidecar",
    "pubkeys": "steps are signed by their sidecar",
    "threshold": "each step has one statement",
    "expected_command": "in-toto only warns of another command; say it by the step's materials",
    "expires": "a declaration holds until the governance is changed",
}


def without_defaults(layout: Any) -> Any:
    """The layout without members that say nothing. Raises `ValueError` for those that would be ignored."""
    if not isinstance(layout, dict):
        return layout
    found = _stripped(layout, _OF_LAYOUT, "layout")
    steps = found.get("steps")
    if isinstance(steps, list):
        found["steps"] = [
            _stripped(step, _OF_STEP, f"steps.{at}") if isinstance(step, dict) else step
            for at, step in enumerate(steps)
        ]
    return found


def check_layout(steps: Sequence[tuple[str, Sequence[Sequence[str]]]]) -> None:
    """Raise `ValueError` unless step names differ and every rule can be applied when its step is noted.

    `steps`: the names, and the rules of each. A rule may look back at earlier steps, and at its own, alone.
    """
    from in_toto import rulelib
    from securesystemslib.exceptions import FormatError

    earlier: set[str] = set()
    for name, rules in steps:
        if name in earlier:
            raise ValueError(f"the step {name} stands twice")
        earlier.add(name)
        for rule in rules:
            try:
                unpacked = rulelib.unpack_rule(list(rule))
            except FormatError as error:
                raise ValueError(f"step {name}: {' '.join(rule)!r} is no artifact rule of in-toto") from error
            if unpacked["rule_type"] == "match" and unpacked["dest_name"] not in earlier:
                raise ValueError(f"step {name}: {' '.join(rule)!r} looks at {unpacked['dest_name']}, no earlier step")


def broken(
    step: str,
    kind: str,
    rules: Sequence[Sequence[str]],
    noted: Iterable[tuple[str, Mapping[str, str], Mapping[str, str]]],
) -> str | None:
    """What in-toto says about the first of a step's rules that does not hold; None when all hold.

    `kind` is `materials` or `products`; `noted` gives the name of each step so far, and its materials and products,
    SHA-256 in hexadecimal by name.
    """
    from in_toto import verifylib
    from in_toto.exceptions import RuleVerificationError
    from in_toto.models.link import Link

    links = {
        name: Link(name=name, materials=_artifacts(materials), products=_artifacts(products))
        for name, materials, products in noted
    }
    with _one_at_a_time:
        try:
            verifylib.verify_item_rules(step, kind, [list(rule) for rule in rules], links)
        except RuleVerificationError as error:
            return str(error).partition("\n")[0][:500]
    return None


def _artifacts(digests: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"sha256": digest.removeprefix("sha256:")} for name, digest in digests.items()}


def _stripped(part: dict[str, Any], known: dict[str, tuple[Any, ...]], where: str) -> dict[str, Any]:
    found = {}
    for member, value in part.items():
        if member in known and any(value == one and type(value) is type(one) for one in known[member]):
            continue
        if member in _WHY:
            raise ValueError(f"{where}.{member}: {_WHY[member]}; leave it out")
        found[member] = value
    return found
