"""What verifies releases, statements and batches for `placet server`, as its options say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import messages

if TYPE_CHECKING:
    from app.control.break_signing import Sign
    from app.control.plane import Plane, PolicyCheck, StatementVerifier, Verifier


def verifiers(
    trust_config: Path | None, staging: bool, opa: Path | None
) -> tuple[Verifier, StatementVerifier, PolicyCheck]:
    """Of releases and of single statements, with the Sigstore instance that is trusted and the OPA for policies.

    And of the verification policies themselves.
    """
    from collections.abc import Sequence

    from app.core import condition_check
    from app.core.evidence import VerifiedStatement, verify_evidence
    from app.core.opa import Opa
    from app.core.trust import TrustConfig
    from app.core.verification import VerifiedRelease, verify_release
    from app.core.verification_policy import VerificationPolicy
    from app.local import tools

    trust = TrustConfig.choose(trust_config, staging=staging)
    checker = Opa(opa or tools.installed("opa"), busy=True)
    messages.print(f"OPA {checker.version}, {checker.digest}")

    def verify(
        bundle: bytes, signature: bytes, attestations: Sequence[bytes], policy: VerificationPolicy
    ) -> VerifiedRelease:
        return verify_release(bundle, signature, attestations, policy=policy, trust=trust, opa=checker)

    def verify_statement(raw: bytes, *, subject: str, policy: VerificationPolicy, step: str) -> VerifiedStatement:
        return verify_evidence(raw, subject=subject, policy=policy, trust=trust, step=step)

    def check_policy(policy: VerificationPolicy) -> None:
        condition_check.require(policy, checker)

    return verify, verify_statement, check_policy


def batch_verifier(trust_config: Path | None) -> StatementVerifier | None:
    """Of decision batches, by the lineage log that was named; there is no default, not even the public one."""
    if trust_config is None:
        return None
    from app.core.evidence import VerifiedStatement, verify_evidence
    from app.core.trust import TrustConfig
    from app.core.verification_policy import VerificationPolicy

    trust = TrustConfig.from_file(trust_config)

    def verify(raw: bytes, *, subject: str, policy: VerificationPolicy, step: str) -> VerifiedStatement:
        return verify_evidence(raw, subject=subject, policy=policy, trust=trust, step=step)

    return verify


def break_signer(plane: Plane, trust_config: Path | None) -> Sign | None:
    """Signs what the control plane says of breaks, with the lineage log's Sigstore; None where there is no such log."""
    if trust_config is None or not plane.identity_issuer:
        return None
    from app.control import identity_issuer
    from app.core.break_statement import BreakStatement
    from app.core.governance import control_plane_id
    from app.core.trust import TrustConfig
    from app.sidecar.statement_signer import StatementSigner, Unsigned

    signer = StatementSigner(TrustConfig.from_file(trust_config), lambda: identity_issuer.own(plane), lambda: None)

    def sign(says: BreakStatement) -> bytes:
        own = control_plane_id(plane.settings.domain)
        return signer.sign(Unsigned(says.statement(), says.subject.digest, own))

    return sign
