"""The one verifier of a release, used by the command line, the control plane and the sidecar.

Its steps are numbered here as in docs/verification.md. Every failure raises `Denied` with a reason code and the
step that failed; nothing but a returned `VerifiedRelease` means that the release may run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.core import determinism, statements
from app.core.bundle import Bundle, Manifest, digest_of, is_reserved, parse_bundle
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement, verify_evidence
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy

#: More pieces of evidence than this are refused before any is read.
MAX_ATTESTATIONS = 64


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

    # (2) The signature: an allowed identity signed SLSA provenance about these bytes. Nothing reads them before:
    #     what a parser can be made to do is then up to those who may sign, not to those who may send.
    digest = digest_of(bundle)
    if not signature:
        raise Denied(Reason.EVIDENCE_MISSING, "the bundle is not signed", step="signature")
    signed = verify_evidence(signature, subject=digest, policy=policy, trust=trust, step="signature")
    if signed.predicate_type != statements.PROVENANCE:
        raise Denied(
            Reason.EVIDENCE_PREDICATE,
            f"the signature carries {signed.predicate_type}, not {statements.PROVENANCE}",
            step="signature",
            field="predicateType",
        )

    # (3) Every attestation verifies in the same way; one that does not denies the release.
    if len(attestations) > MAX_ATTESTATIONS:
        raise Denied(Reason.EVIDENCE_MALFORMED, f"more than {MAX_ATTESTATIONS} attestations", step="attestations")
    further = tuple(
        verify_evidence(raw, subject=digest, policy=policy, trust=trust, step=f"attestations[{number}]")
        for number, raw in enumerate(attestations)
    )

    # (4) What the policy requires is there.
    present = {signed.predicate_type, *(one.predicate_type for one in further)}
    for required in policy.required_predicates:
        if required not in present:
            raise Denied(Reason.EVIDENCE_INCOMPLETE, f"no {required}", step="required_predicates", field=required)

    # (5) The archive, the manifest and the data are of the accepted form.
    parsed = parse_bundle(bundle)

    # (6) The Rego compiles, stays inside its roots, defines the entrypoint and decides by nothing else than it should.
    check_policy(parsed, opa)
    return VerifiedRelease(parsed, signed, further)


def check_policy(bundle: Bundle, opa: Opa, *, strict: bool = False) -> None:
    """Check the Rego of a bundle with OPA itself; `strict` adds OPA's strict mode, for authors."""
    opa.check(bundle.modules, strict=strict)
    roots = bundle.manifest.roots
    modules = opa.inspect(bundle.modules)
    for module in modules:
        inside = any(module.package == root or module.package.startswith(root + "/") for root in roots)
        if is_reserved(module.package) or not inside:
            raise Denied(
                Reason.REGO_OUTSIDE_ROOTS,
                f"{module.file} is package {module.package.replace('/', '.')}, outside the roots {', '.join(roots)}",
                step="rego",
                field=module.file,
            )
    entrypoint = bundle.manifest.entrypoint
    rules = {rule for module in modules for rule in module.rules}
    if not any(rule == entrypoint or rule.startswith(entrypoint + "/") for rule in rules):
        raise Denied(
            Reason.MANIFEST_ENTRYPOINT,
            f"no rule defines {entrypoint}",
            step="rego",
            field="metadata.placet.entrypoint",
        )
    determinism.check(modules, bundle.modules, opa)


def split_attestations(raw: bytes) -> list[bytes]:
    """The Sigstore bundles of an `.attestations.jsonl` file, one a line. Of too many, the rest stays one piece."""
    return [line for line in raw.split(b"\n", MAX_ATTESTATIONS + 1) if line.strip()]
