"""What names in a module of Rego stand for, and what of `data` may be read by them.

Beside a policy's own packages and data, OPA keeps other things in `data`: what it knows of itself (`data.system`: its
version, the machine that it was built on, the tag of its bundle), the trust state, the library's own rules. A decision
that looks at them is not made again by what is recorded of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.roots import is_reserved

#: The one reading of the clock, which the governance library makes.
CLOCK = "data.placet.clock.now"

#: What a policy may read of the governance library: docs/decision.md says what it holds.
FOR_POLICIES = ("data.placet.subject", "data.placet.warrant.granted", CLOCK)

#: What the library is made of.
FOR_THE_LIBRARY = ("data.placet", "data.placet_state", "data.placet_glue", "data.placet_log")


@dataclass(frozen=True)
class Names:
    """The names of one module."""

    #: Paths by the names that the module's imports, and the rules of its package, give them.
    paths: Mapping[str, str]
    #: Whether it is a module of the governance library.
    ours: bool = False

    def fault(self, term: Mapping[str, Any]) -> str | None:
        """Why a reference or variable may not be read, or None when it may.

        A variable that has the name of an import is taken for it.
        """
        path = self._of_data(term)
        if path is None:
            return None
        if path == "data":
            return "data as a whole, or a name in it that is not written out, could be anything in OPA; write data.name"
        readable = FOR_THE_LIBRARY if self.ours else FOR_POLICIES
        if not is_reserved(path.split(".")[1]) or any(f"{path}.".startswith(f"{one}.") for one in readable):
            return None
        return f"{path} is not the policy's; beside its own data it may read {', '.join(readable)}"

    def _of_data(self, term: Mapping[str, Any]) -> str | None:
        """The path in data that is read, as far as it is written out; None when it is another document."""
        first, *steps = term["value"] if term["type"] == "ref" else [term]
        if first["type"] != "var":
            return None
        head = str(first["value"])
        path = self.paths.get(head, head)
        if path != "data" and not path.startswith("data."):
            return None
        constant = next((at for at, step in enumerate(steps) if step["type"] != "string"), len(steps))
        return ".".join([path, *(str(step["value"]) for step in steps[:constant])])


def below(term: Mapping[str, Any]) -> Any:
    """What stands in a reference after its first name."""
    value = term["value"]
    return value[1:] if term["type"] == "ref" and value[0]["type"] == "var" else value
