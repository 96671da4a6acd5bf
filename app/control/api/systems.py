"""`/api/v1/systems`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, PlainValidator, ValidationInfo, model_validator
from sqlmodel import Session

from app.control import modes, systems
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name
from app.control.api.modes import brief
from app.control.store import System
from app.control.tokens import Access, Scope
from app.core import break_limit
from app.core.break_limit import Stored
from app.core.verification_policy import ListedSigner, SignerIdentity, VerificationPolicy

router = APIRouter(prefix="/api/v1/systems", tags=["systems"])


_Signers = Annotated[Sequence[ListedSigner], Field(max_length=64)]
_Declarers = Annotated[Sequence[SignerIdentity], Field(max_length=64)]


class Policy(VerificationPolicy):
    """A verification policy, as the file of a sidecar holds one (docs/verification.md)."""

    identities: Annotated[Sequence[ListedSigner], Field(min_length=1, max_length=64)]
    shadow: _Declarers = ()
    break_glass: _Declarers = ()

    def rules(self) -> VerificationPolicy:
        """The policy alone, without what else was asked."""
        return VerificationPolicy(**{name: getattr(self, name) for name in VerificationPolicy.model_fields})


_Horizon = Annotated[int, Field(strict=True, ge=1, le=30 * 86400)]


class NewSystem(Policy):
    """A system to create, with the members of its verification policy."""

    name: Name
    horizon_seconds: _Horizon = systems.DEFAULT_HORIZON


class Horizon(Body):
    """How long sidecars go on without fresh metadata, in seconds."""

    horizon_seconds: _Horizon


class Signers(Body):
    """Who may sign for a system, and who may declare its modes."""

    identities: _Signers = ()
    shadow: _Declarers = ()
    break_glass: _Declarers = ()


def _limit(value: Any, info: ValidationInfo) -> Stored:
    return break_limit.parse(info.field_name or "", value)


#: What is borne of breaks of a kind: at-once, never, so many that are open, or one for a time such as 15m.
Limit = Annotated[Stored, PlainValidator(_limit, json_schema_input_type=str | int)]


class Limits(Body):
    """When breaks of lineage stop a sidecar; kinds that are left out stay as they are."""

    clock: Limit | None = None
    opa: Limit | None = None
    dropped: Limit | None = None
    repeat: Limit | None = None
    gap: Limit | None = None
    fork: Limit | None = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.keys() <= break_limit.KINDS.keys():
            raise ValueError(break_limit.NAMES)
        return given


def show(session: Session, system: System) -> dict[str, Any]:
    """A system as the API shows it, with the modes that are in force or to come."""
    return {
        "name": system.name,
        "identities": system.identities,
        "required_predicates": system.required_predicates,
        "minimum_signers": 1,
        **system.release_rules,
        "shadow": system.shadow,
        "break_glass": system.break_glass,
        "horizon_seconds": system.horizon_seconds,
        "lineage_limits": break_limit.show(system.lineage_limits),
        "modes": [brief(mode) for mode in modes.in_force(session, system.name)],
        "created_at": system.created_at.isoformat(),
    }


@router.get("")
def list_systems(
    plane: PlaneOf, access: Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)]
) -> list[dict[str, Any]]:
    """Every system; a token that is bound to one sees that one."""
    with plane.store.read() as session:
        return [show(session, system) for system in systems.listed(session, access.system)]


@router.post("", status_code=201)
def create_system(plane: PlaneOf, body: NewSystem, _: Annotated[Access, by(Scope.SYSTEM_WRITE)]) -> dict[str, Any]:
    """Create a system. Its governance is published when this answers."""
    rules = body.rules()
    plane.check_policy(rules)  # before anything is locked: it may start OPA
    with plane.publishing() as session:
        return show(session, systems.create(session, body.name, rules, body.horizon_seconds))


@router.put("/{system}/signers")
def set_signers(
    plane: PlaneOf, system: Name, body: Signers, _: Annotated[Access, by(Scope.SYSTEM_WRITE)]
) -> dict[str, Any]:
    """Say anew who may sign for a system and who may declare its modes; lists that are left out stay as they are.

    Releases and modes that were taken stay; sidecars go by their own verification policies.
    """
    with plane.store.write() as session:
        given = {name: getattr(body, name) for name in body.model_fields_set}
        return show(session, systems.set_signers(session, system, given))


@router.put("/{system}/policy")
def set_policy(
    plane: PlaneOf, system: Name, body: Policy, _: Annotated[Access, by(Scope.SYSTEM_WRITE)]
) -> dict[str, Any]:
    """Replace the whole verification policy. Releases that were taken stay; sidecars go by their own policies."""
    rules = body.rules()
    plane.check_policy(rules)  # before anything is locked: it may start OPA
    with plane.store.write() as session:
        return show(session, systems.set_policy(session, system, rules))


@router.put("/{system}/horizon")
def set_horizon(
    plane: PlaneOf, system: Name, body: Horizon, _: Annotated[Access, by(Scope.SYSTEM_WRITE)]
) -> dict[str, Any]:
    """Say anew how long sidecars go on alone. They know it with their next refresh; until then the old one holds."""
    with plane.publishing() as session:
        return show(session, systems.set_horizon(session, system, body.horizon_seconds))


@router.put("/{system}/lineage-limits")
def set_limits(
    plane: PlaneOf, system: Name, body: Limits, _: Annotated[Access, by(Scope.SYSTEM_WRITE)]
) -> dict[str, Any]:
    """Say anew when a break of lineage stops a sidecar. Breaks that are open stay as they are."""
    with plane.store.write() as session:
        return show(session, systems.set_limits(session, system, body.model_dump(exclude_none=True)))


@router.get("/{system}")
def get_system(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> dict[str, Any]:
    """One system."""
    with plane.store.read() as session:
        return show(session, systems.find(session, system))
