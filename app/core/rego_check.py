"""The Rego of a bundle: step 8 of the one verifier (`app.core.verification`), which building does as well."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from app.core import data_conflicts, preflight
from app.core.bundle import Bundle
from app.core.opa import Module, Opa


def check_policy(
    bundle: Bundle,
    opa: Opa,
    *,
    strict: bool = False,
    allowed: frozenset[str] = frozenset(),
    modules: Sequence[Module] | None = None,
    compiling: Future[None] | None = None,
) -> None:
    """Check the Rego of a bundle with OPA itself; `strict` adds OPA's strict mode, for authors.

    `allowed` are builtins that the system allows by name although a decision could then depend on more than it should.
    `modules` is what `opa.accepted` gave for these very modules, or what `opa.inspect` did: then `compiling` is what
    `opa.check` says of them.
    """
    # (8.1) It compiles, with the builtins that a policy may call. One process of OPA does that and gives its syntax
    #       if it is small; else other processes read its syntax at the same time.
    found = modules
    if found is None:
        found = opa.accepted(bundle.modules, strict=strict, allowed=allowed)
    if found is None:
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(opa.inspect, bundle.modules)
            opa.check(bundle.modules, strict=strict, allowed=allowed)
            found = reading.result()
    elif compiling is not None:
        compiling.result()
    # (8.2) Every package lies inside the roots; (8.3) a rule defines the entrypoint; (8.4) nothing decides by more.
    manifest = bundle.manifest
    for fault in preflight.policy_faults(
        found,
        bundle.modules,
        opa,
        roots_=manifest.roots,
        entrypoint=manifest.entrypoint,
        allowed=allowed,
    ):
        raise fault.denied("rego")
    # (8.5) No data stands where a rule does: OPA would not load them.
    for fault in data_conflicts.faults(found, bundle.data):
        raise fault.denied("rego")
