"""Systems: who may sign for them and how long their sidecars go on alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlmodel import Session, select

from app.control.problems import Conflict, Invalid, NotFound
from app.control.store import System
from app.core.break_limit import Stored
from app.core.errors import Denied
from app.core.targets import STATE_TARGET
from app.core.verification_policy import ListedSigner, VerificationPolicy

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
    _require_somebody(rules)
    if session.get(System, name) is not None:
        raise Conflict(f"there is a system {name} already")
    system = System(name=name, identities=[], horizon_seconds=horizon_seconds)
    _write(system, rules)
    session.add(system)
    session.flush()
    return system


def set_signers(session: Session, name: str, given: Mapping[str, Sequence[ListedSigner]]) -> System:
    """Replace lists of signers: `identities`, `shadow`, `break_glass`; those that are not given stay."""
    return set_policy(session, name, policy_of(_locked(session, name)).model_copy(update=dict(given)))


def set_policy(session: Session, name: str, rules: VerificationPolicy) -> System:
    """Replace the whole verification policy."""
    system = _locked(session, name)
    _require_somebody(rules)
    _write(system, rules)
    session.add(system)
    session.flush()
    return system


def set_horizon(session: Session, name: str, seconds: int) -> System:
    """Say anew how long a system's sidecars go on without fresh metadata."""
    system = _locked(session, name)
    system.horizon_seconds = seconds
    session.add(system)
    session.flush()
    return system


def set_limits(session: Session, name: str, limits: Mapping[str, Stored]) -> System:
    """Say when breaks of each kind in `limits` stop a sidecar; kinds that are not named stay."""
    system = _locked(session, name)
    system.lineage_limits = {**system.lineage_limits, **limits}
    session.add(system)
    session.flush()
    return system


def find(session: Session, name: str) -> System:
    """The system of that name. Raises `NotFound`."""
    return _there(session.get(System, name), name)


def _locked(session: Session, name: str) -> System:
    """The same, to be changed: what is made of its old values is made of those that its seal is compared with."""
    lock = {"key_share": True}
    return _there(session.get(System, name, with_for_update=lock, populate_existing=True), name)


def _there(system: System | None, name: str) -> System:
    if system is None:
        raise NotFound(f"there is no system {name}")
    return system


def listed(session: Session, only: str | None = None) -> list[System]:
    """All systems by name, or the one that a token is bound to."""
    query = select(System).order_by(System.name)
    return list(session.exec(query.where(System.name == only) if only else query))


def policy_of(system: System) -> VerificationPolicy:
    """Who may sign for a system, as the verifier takes it."""
    lists = {member: getattr(system, member) for member in _LISTS}
    return VerificationPolicy.model_validate({**system.release_rules, **lists})


#: Members of a verification policy that have a column each.
_LISTS = ("identities", "required_predicates", "shadow", "break_glass")


def _write(system: System, rules: VerificationPolicy) -> None:
    document = rules.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    for member in _LISTS:
        given = document.pop(member, [])
        setattr(system, member, [one for number, one in enumerate(given) if one not in given[:number]])
    system.release_rules = document


def _require_somebody(rules: VerificationPolicy) -> None:
    try:
        rules.require_somebody()
    except Denied as denied:
        raise Invalid(f"a system needs somebody who may sign for it: {denied.detail}") from denied
