"""Systems: who may sign for them and how long their sidecars go on alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlmodel import Session, select

from app.control.problems import Conflict, Invalid, NotFound
from app.control.store import System
from app.core.targets import STATE_TARGET
from app.core.verification_policy import SignerIdentity, VerificationPolicy

#: Seconds; a few lost refreshes do not stop a data centre.
DEFAULT_HORIZON = 60

#: Names whose TUF targets would lie among those of another kind.
_RESERVED = {"releases", STATE_TARGET.removesuffix(".json")}


def create(
    session: Session,
    name: str,
    rules: VerificationPolicy,
    horizon_seconds: int = DEFAULT_HORIZON,
) -> System:
    """A new system. It must say who may sign for it: an empty list would accept nobody."""
    if name in _RESERVED:
        raise Invalid(f"the name {name} is reserved")
    if not rules.identities:
        raise Invalid("a system needs at least one identity that may sign for it")
    if session.get(System, name) is not None:
        raise Conflict(f"there is a system {name} already")
    system = System(
        name=name,
        identities=_written(rules.identities),
        required_predicates=list(dict.fromkeys(rules.required_predicates)),
        horizon_seconds=horizon_seconds,
        shadow=_written(rules.shadow),
        break_glass=_written(rules.break_glass),
    )
    session.add(system)
    session.flush()
    return system


def set_signers(session: Session, name: str, given: Mapping[str, Sequence[SignerIdentity]]) -> System:
    """Replace lists of signers: `identities`, `shadow`, `break_glass`; those that are not given stay."""
    system = find(session, name)
    if "identities" in given and not given["identities"]:
        raise Invalid("a system needs at least one identity that may sign for it")
    for member, signers in given.items():
        setattr(system, member, _written(signers))
    session.add(system)
    session.flush()
    return system


def set_limits(session: Session, name: str, limits: Mapping[str, int]) -> System:
    """Say how many open breaks of each kind in `limits` stop a sidecar; kinds that are not named stay."""
    system = find(session, name)
    system.lineage_limits = {**system.lineage_limits, **limits}
    session.add(system)
    session.flush()
    return system


def find(session: Session, name: str) -> System:
    """The system of that name. Raises `NotFound`."""
    system = session.get(System, name)
    if system is None:
        raise NotFound(f"there is no system {name}")
    return system


def listed(session: Session, only: str | None = None) -> list[System]:
    """All systems by name, or the one that a token is bound to."""
    query = select(System).order_by(System.name)
    return list(session.exec(query.where(System.name == only) if only else query))


def policy_of(system: System) -> VerificationPolicy:
    """Who may sign for a system, as the verifier takes it."""
    return VerificationPolicy(
        identities=_read(system.identities),
        required_predicates=system.required_predicates,
        shadow=_read(system.shadow),
        break_glass=_read(system.break_glass),
    )


def _written(signers: Sequence[SignerIdentity]) -> list[dict[str, str]]:
    return [signer.model_dump() for signer in signers]


def _read(written: Sequence[Mapping[str, str]]) -> list[SignerIdentity]:
    return [SignerIdentity(**signer) for signer in written]
