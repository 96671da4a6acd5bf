"""The one verifier of a release, used by the command line, the control plane and the sidecar.

Its steps are numbered here as in docs/verification.md. Every failure raises `Denied` with a reason code and the
step that failed; nothing but a returned `VerifiedRelease` means that the release may run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.core import conditions, statements
from app.core.attestation_claims import claimed
from app.core.bundle import Bundle, Manifest, digest_of, parse_bundle
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement, verify_evidence
from app.core.layout_check import is_of, require_layout
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.rego_check import check_policy as check_policy
from app.core.signer_count import counted
from app.core.signer_pattern import person
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy, signer_text

#: More pieces of evidence than this are refused before any is read.
MAX_ATTESTATIONS = 64
#: And more bytes than this of all of them together.
MAX_ATTESTED = 8 * 1024 * 1024


@dataclass(frozen=True)
class VerifiedRelease:
    """A bundle that an allowed identity signed, with all the evidence that its policy asks for."""

    bundle: Bundle
    signature: VerifiedStatement
    attestations: tuple[VerifiedStatement, ...]

    @property
    def digest(self) -> str:
        """The bundle's SHA-256, as `sha256:…`."""
        return self.bundle.digest

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.bundle.manifest

    @property
    def signer(self) -> SignerIdentity:
        """Who signed the bundle."""
        return self.signature.signer

    @property
    def signers(self) -> tuple[SignerIdentity, ...]:
        """Everybody who signed the bundle, each once: the signature's signer first, then those who countersigned."""
        also = [one.signer for one in self.attestations if one.predicate_type == statements.PROVENANCE]
        return tuple(dict.fromkeys([self.signer, *also]))

    @property
    def signed_at(self) -> datetime:
        """When the timestamp authority saw the signature, UTC."""
        return self.signature.signed_at

    @property
    def provenance(self) -> dict[str, Any]:
        """The SLSA provenance statement that the signature carries."""
        return self.signature.statement


def verify_release(
    bundle: bytes,
    signature: bytes,
    attestations: Sequence[bytes],
    *,
    policy: VerificationPolicy,
    trust: TrustConfig,
    opa: Opa,
) -> VerifiedRelease:
    """Verify a bundle, the Sigstore bundle over its provenance, and its further attestations."""
    # (1) The policy allows somebody.
    policy.require_somebody()

    # (2) The signature verifies: one who may sign signed SLSA provenance of these bytes. Nothing reads them before:
    #     what a parser can be made to do is then up to those who may sign, not to those who may send.
    digest = digest_of(bundle)
    if not signature:
        raise Denied(Reason.EVIDENCE_MISSING, "the bundle is not signed", step="signature", field="bundle")
    signed = verify_evidence(signature, subject=digest, policy=policy, trust=trust, step="signature")
    signed.require(statements.PROVENANCE, "signature")

    # (3) Every attestation verifies in the same way; one that does not denies the release. Links of the steps of the
    #     policy's layout are the layout's to judge: others may do them, and they need not be about the bundle.
    if len(attestations) > MAX_ATTESTATIONS:
        detail = f"more than {MAX_ATTESTATIONS} attestations"
        raise Denied(Reason.EVIDENCE_MALFORMED, detail, step="attestations", field=f"attestations[{MAX_ATTESTATIONS}]")
    if sum(map(len, attestations)) > MAX_ATTESTED:
        detail = f"attestations of more than {MAX_ATTESTED} bytes together"
        raise Denied(Reason.EVIDENCE_MALFORMED, detail, step="attestations", field="attestations")
    of_steps = [is_of(policy.layout, raw, f"attestations[{number}]") for number, raw in enumerate(attestations)]
    further = {
        at: _verify_further(raw, subject=digest, policy=policy, trust=trust, step=at)
        for number, raw in enumerate(attestations)
        if not of_steps[number] and (at := f"attestations[{number}]")
    }

    # (4) Enough of those who may sign did: the signature, or an attestation that could stand in its place.
    evidence = {"signature": signed, **further}
    _check_signers(evidence.values(), policy)

    # (5) What the policy requires is there, and says what it must.
    conditions.check(policy.requirements, evidence, opa)

    # (6) The pipeline, where the policy has a layout: steps were done by whom it names, and led to this bundle.
    links: Sequence[VerifiedStatement] = ()
    if policy.layout is not None:
        done = [raw for raw, of_step in zip(attestations, of_steps, strict=True) if of_step]
        links = require_layout(policy.layout, done, bundle=digest, trust=trust)

    # (7) The bundle has the accepted form: archive, manifest and data.
    with _step("bundle"):
        parsed = parse_bundle(bundle)

    # (8) The Rego decides by nothing else than it should: it compiles, stays inside its roots and defines the
    #     entrypoint. What depends on these bytes and this OPA alone is asked once.
    allowed = frozenset(policy.allowed_builtins)
    checks = opa.passed.key(digest, allowed)
    if not opa.passed.holds(checks):
        with _step("rego"):
            check_policy(parsed, opa, allowed=allowed)
        opa.passed.note(checks)
    return VerifiedRelease(parsed, signed, (*further.values(), *links))


def _verify_further(
    raw: bytes, *, subject: str, policy: VerificationPolicy, trust: TrustConfig, step: str
) -> VerifiedStatement:
    """Verify an attestation that no layout judges. Of a link of a step a denial says that one could."""
    try:
        return verify_evidence(raw, subject=subject, policy=policy, trust=trust, step=step)
    except Denied as denied:
        about_or_by = denied.reason in (Reason.EVIDENCE_SUBJECT, Reason.EVIDENCE_IDENTITY)
        if not about_or_by or claimed(raw, step).step is None:
            raise
        detail = f"{denied.detail}; it is a link, so verify by a policy whose `layout` has its step"
        raise Denied(denied.reason, detail, step=denied.step, field=denied.field) from denied


def _check_signers(evidence: Iterable[VerifiedStatement], policy: VerificationPolicy) -> None:
    """Count the listed identities that signed provenance; neither a pattern nor a person counts twice."""
    by = [one for one in evidence if one.predicate_type == statements.PROVENANCE]
    names = {person(one.signer.identity) for one in by}
    count = counted((person(one.signer.identity), signer_text(one.listed or one.signer)) for one in by)
    if count < policy.minimum_signers:
        raise Denied(
            Reason.EVIDENCE_SIGNERS,
            f"signed by {count} of the listed identities ({', '.join(sorted(names))}), not by {policy.minimum_signers}",
            step="signers",
            field="minimum_signers",
        )


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Say of a denial in which step it was made, and of what, where it does not say so itself."""
    try:
        yield
    except Denied as denied:
        denied.step, denied.field = denied.step or name, denied.field or "bundle"
        raise


def split_attestations(raw: bytes) -> list[bytes]:
    """The Sigstore bundles of an `.attestations.jsonl` file, one a line. Of too many, the rest stays one piece."""
    return [line for line in raw.split(b"\n", MAX_ATTESTATIONS + 1) if line.strip()]
