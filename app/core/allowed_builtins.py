"""Builtins that a policy may call since its system allows them by name, as its author says in placet.yaml."""

from __future__ import annotations

from collections.abc import Iterable

from app.core.errors import UsageError
from app.core.opa import Opa
from app.core.policy_project import SETTINGS, Settings


def known(opa: Opa, settings: Iterable[Settings], given: Iterable[str] = ()) -> frozenset[str]:
    """The names that the settings and `--allow-builtin` give. Raises `UsageError` for one that OPA does not have."""
    listed = {name for one in settings for name in one.allowed_builtins}
    for where, names in (("--allow-builtin", set(given)), (f"{SETTINGS}: allowed_builtins:", listed)):
        if unknown := sorted(names - opa.builtins) if names else []:
            raise UsageError(f"{where} {unknown[0]}: OPA {opa.version} has no such builtin")
    return frozenset({*given, *listed})
