"""Data at the place of a rule: the compiler sees rules alone, and an OPA refuses to load the two together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.core.bundle import placed
from app.core.errors import Denied
from app.core.fault import Fault
from app.core.reason_codes import Reason
from app.core.rego_parser import Module


def faults(modules: Iterable[Module], data: Mapping[str, bytes]) -> Iterator[Fault]:
    """One fault for each document of data that defines a rule's path, or a plain value above it.

    What is wrong with a document itself, others say.
    """
    rules = sorted({rule for module in modules for rule in module.rules})
    for path, raw in data.items():
        try:
            document = placed(path, raw)
        except Denied:
            continue
        taken = next((rule for rule in rules if _defines(document, rule.split("/"))), None)
        if taken is not None:
            yield Fault(
                Reason.DATA_MALFORMED,
                f"{path} defines data.{taken.replace('/', '.')}, which is a rule: no OPA loads both",
                "rename the rule or the data",
                path,
            )


def _defines(document: Mapping[str, Any], names: list[str]) -> bool:
    """Whether a value stands at the path, or something that can hold no path stands above it."""
    value: Any = document
    for name in names:
        if not isinstance(value, Mapping):
            return True
        if name not in value:
            return False
        value = value[name]
    return True
