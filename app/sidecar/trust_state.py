"""The trust state: what the control plane publishes, vetted, and what this sidecar adds, as the library reads it.

It is named by its digest and archived, so that a decision's `state` can be found again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core import masking, x509_roots
from app.core.bundle import digest_of
from app.core.errors import Denied
from app.core.files import write_atomically
from app.core.governance import Revocation, SystemGovernance, audience_of
from app.core.letter_case import lowered
from app.core.reason_codes import Reason
from app.core.targets import PublishedState, QuarantinedName, TrustedIssuer
from app.sidecar import archived_states, ended_executions, trust_segments
from app.sidecar.opa_api import MAX_REQUEST, encoded
from app.sidecar.trust_keys import signers, usual_headers, vetted_keys

#: Bytes beside the trust state in what is written to OPA: the lease, the digest, the names of the members.
_LEASE_ROOM = 1024
#: Bytes kept free for what the sidecar adds: its execution keys, attestation results, modes.
LOCAL_ROOM = 16 * 1024

_SERVICE_ACCOUNTS = "system:serviceaccount:"
_QUARANTINED = {"execution": "executions", "domain": "domains", "segment": "segments"}


@dataclass(frozen=True)
class TrustState:
    """The `trust` member of `data.placet_state`, and its digest."""

    trust: dict[str, Any]
    digest: str

    def archive(self, directory: Path) -> None:
        """Keep the state, by its digest."""
        path = archived_states.path_of(directory, self.digest)
        if not path.exists():
            write_atomically(path, _archived(self.trust), mode=0o600)


@dataclass(frozen=True)
class Local:
    """What this sidecar adds to what is published."""

    #: Its SPIFFE ID, under which it signs execution tokens; and the public keys by id, `{alg, jwks}`.
    sidecar: str
    execution_keys: Mapping[str, Any] = field(default_factory=dict)
    #: Attestation results: JWTs, which OPA verifies.
    results: tuple[str, ...] = ()
    #: The key ids by the first segment of the tokens that they sign.
    execution_headers: Mapping[str, str] = field(default_factory=dict)
    #: Verified modes in force, in the form of `trust.modes`.
    modes: Mapping[str, list[dict[str, Any]]] = field(default_factory=lambda: {"shadow": [], "break_glass": []})
    #: Executions that have ended here, and how: nothing more is decided for them.
    ended: Mapping[str, str] = field(default_factory=dict)
    #: Subjects that stand for too many of those, by issuer, as quarantine names them.
    blocked: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)


def from_published(state: PublishedState, governance: SystemGovernance) -> dict[str, Any]:
    """Vet what was published. One bad key refuses all of it: the control plane's word on keys is not enough."""
    if governance.audience != audience_of(state.domain, governance.system):
        raise _invalid(f"warrants for {governance.system} would name {governance.audience}")
    issuers, roots = _issuers(state)
    trust = {
        "system": governance.system,
        "domain": state.domain,
        "audience": governance.audience,
        "issuers": issuers,
        "x509": roots,
        "links": {domain: True for domain in state.links if domain != state.domain},
        "grants": _grants(state),
        "max_identity_age_seconds": governance.max_identity_age_seconds,
        "quarantine": _quarantine(state),
        "warrant": {
            "required": governance.warrant_required,
            "issuers": signers(state.warrant_issuers, "an issuer of warrants"),
            "revoked": _revoked(governance.revoked_warrants),
        },
        "environment": {
            "required": _required(governance),
            "attesters": signers(state.attesters, "an attester"),
            "revoked": _revoked(governance.revoked_results),
        },
        "segments": trust_segments.of(governance),
        "workflows": _workflows(governance),
    }
    if rules := masking.for_opa(governance.masking):
        trust["masking"] = rules
    if len(encoded(trust)) > MAX_REQUEST - _LEASE_ROOM - LOCAL_ROOM:
        raise _invalid("the published state is larger than OPA takes in one request")
    return trust


def compose(published: Mapping[str, Any], local: Local) -> TrustState:
    """The whole trust state. Leaves the index of usual headers out where it would not fit."""
    trust = {
        **published,
        "execution": {
            "issuer": local.sidecar,
            "keys": dict(local.execution_keys),
            "headers": dict(local.execution_headers),
        },
        "environment": {**published["environment"], "results": list(local.results)},
        "modes": dict(local.modes),
    }
    quarantine = published["quarantine"]
    if local.ended:
        quarantine = {**quarantine, "executions": {**local.ended, **quarantine["executions"]}}
    if local.blocked:
        quarantine = {**quarantine, "subjects": ended_executions.merged(quarantine["subjects"], local.blocked)}
    trust["quarantine"] = quarantine
    headers = usual_headers(published["issuers"])
    if headers and len(encoded({**trust, "headers": headers})) <= MAX_REQUEST - _LEASE_ROOM:
        trust["headers"] = headers
    if len(encoded(trust)) > MAX_REQUEST - _LEASE_ROOM:
        raise _invalid("the trust state is larger than OPA takes in one request")
    return TrustState(trust, digest_of(_archived(trust)))


def room(state: TrustState, local: Local) -> int:
    """The bytes that executions which have ended may take, those that are there included."""
    needed = {name: value for name, value in state.trust.items() if name != "headers"}
    return MAX_REQUEST - _LEASE_ROOM - len(encoded(needed)) + len(encoded(local.ended))


def _archived(trust: Mapping[str, Any]) -> bytes:
    """The bytes that name a trust state. Not RFC 8785: that cannot hold the nanoseconds of the modes."""
    return json.dumps(trust, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _issuers(state: PublishedState) -> tuple[dict[str, Any], dict[str, list[str]]]:
    issuers: dict[str, Any] = {}
    roots: dict[str, list[str]] = {}
    for issuer in state.issuers:
        if issuer.issuer in issuers:
            raise _invalid(f"the issuer {issuer.issuer} stands twice")
        domain = issuer.domain or state.domain
        issuers[issuer.issuer] = {
            "kind": issuer.kind,
            "domain": domain,
            "names": _names(issuer, domain),
            "audiences": issuer.audiences,
            "keys": vetted_keys(issuer.issuer, issuer.keys),
        }
        if issuer.x509_roots:
            roots.setdefault(domain, []).extend(_roots(issuer))
    return issuers, roots


def _names(issuer: TrustedIssuer, domain: str) -> str:
    """How every subject of the issuer begins. No issuer vouches for SPIFFE names of another domain than its own."""
    own = f"spiffe://{domain}/"
    if issuer.kind == "spiffe":
        if f"{issuer.issuer}/" != own:
            raise _invalid(f"the SPIFFE issuer {issuer.issuer} is not the trust domain {domain}")
        begin = own
    else:
        begin = _SERVICE_ACCOUNTS if issuer.kind == "kubernetes" else ""
    names = issuer.names or begin
    if not names.startswith(begin) or (lowered(names).startswith("spiffe:") and not names.startswith(own)):
        raise _invalid(f"{issuer.issuer} may not vouch for the names {names}")
    return names


def _roots(issuer: TrustedIssuer) -> list[str]:
    if issuer.kind != "spiffe":
        raise _invalid(f"{issuer.issuer} has X.509 roots, and is no SPIFFE trust domain")
    try:
        return [x509_roots.vet(root) for root in issuer.x509_roots]
    except x509_roots.RootRefused as error:
        raise _invalid(f"a root of {issuer.issuer}: {error}") from error


def _grants(state: PublishedState) -> dict[str, Any]:
    grants: dict[str, dict[str, dict[str, bool]]] = {}
    for one in state.grants:
        held = grants.setdefault(one.issuer, {}).setdefault(one.subject, {})
        held.update(dict.fromkeys(one.grants, True))
    return grants


def _quarantine(state: PublishedState) -> dict[str, Any]:
    subjects: dict[str, dict[str, Any]] = {}
    for one in state.quarantine:
        subjects.setdefault(one.issuer, {})[one.subject] = {"reason": one.reason, "since": one.since}
    return {"subjects": subjects, **{member: _named(state.quarantined, kind) for kind, member in _QUARANTINED.items()}}


def _named(quarantined: Iterable[QuarantinedName], kind: str) -> dict[str, Any]:
    return {one.name: {"reason": one.reason, "since": one.since} for one in quarantined if one.kind == kind}


def _revoked(revocations: Iterable[Revocation]) -> dict[str, Any]:
    return {one.id: {"expires_at": one.expires_at} for one in revocations}


def _required(governance: SystemGovernance) -> dict[str, Any]:
    required: dict[str, Any] = {}
    for one in governance.environment:
        if one.kind in required:
            raise _invalid(f"the environment {one.kind} is required twice")
        required[one.kind] = {"max_age_seconds": one.max_age_seconds, "accept": one.accept}
    return required


def _workflows(governance: SystemGovernance) -> dict[str, Any]:
    """By name: the digest of what is declared, and what may be done only by executions that follow the workflow."""
    return {
        name: {
            "declared": digest_of(workflow.encode()),
            "actions": workflow.required_for.actions if workflow.required_for else [],
            "resources": workflow.required_for.resources if workflow.required_for else [],
        }
        for name, workflow in governance.workflows.items()
    }


def _invalid(detail: str) -> Denied:
    return Denied(Reason.METADATA_INVALID, detail)
