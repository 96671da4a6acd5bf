"""`placet bundle countersign`: a further signature of a release, by somebody else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from app.core.errors import UsageError
from cli import outputs, signing
from cli.output import Output, OutputOption, emit
from cli.pinned_opa import OpaOption, pinned_opa
from cli.progress import busy
from cli.release_files import attestations_of, release_files

EPILOG = (
    "Example: placet bundle countersign payments.tar.gz --policy verification-policy.yaml "
    "--trust-config trust-config.json --identity-token t.jwt"
)


def countersign(
    bundle: Annotated[Path, typer.Argument(help="The signed bundle, a .tar.gz.", show_default=False)],
    certificate_identity: Annotated[
        str | None, typer.Option("--certificate-identity", help="The identity that may have signed it first.")
    ] = None,
    certificate_oidc_issuer: Annotated[
        str | None, typer.Option("--certificate-oidc-issuer", help="The issuer of that identity.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="A verification policy (YAML), in place of the two options above.")
    ] = None,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    identity_token: signing.IdentityTokenOption = None,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a signed bundle, then sign its provenance as well, for policies that ask for several signers.

    All of the policy must hold, but for the number of signers. The signature is added to BUNDLE.attestations.jsonl.
    """
    from app.core import attestation_file, condition_check
    from app.core.evidence import claimed_signer
    from app.core.verification import split_attestations, verify_release
    from app.core.verification_policy import VerificationPolicy

    rules = VerificationPolicy.of(certificate_identity, certificate_oidc_issuer, policy)
    checker = pinned_opa(opa)
    condition_check.require(rules, checker, policy)
    rules = rules.model_copy(update={"minimum_signers": 1})
    files = release_files(bundle)
    session = signing.session(trust_config, staging, identity_token)
    with busy("verifying"):
        release = verify_release(
            files["bundle"],
            files["signature"],
            split_attestations(files["attestations"]),
            policy=rules,
            trust=session.trust,
            opa=checker,
        )
    names = {one.identity for one in release.signers}

    def with_signature(existing: list[bytes]) -> list[bytes]:
        signed_by = [claimed_signer(one, "attestation").identity for one in existing if _is_signature(one)]
        _require_another(session.identity, [*names, *signed_by], bundle)
        return [*existing, signed]

    _require_another(session.identity, names, bundle)
    outputs.require(attestations_of(bundle))
    with busy("signing"):
        signed = session.sign(release.signature.payload)
    attestation_file.change(attestations_of(bundle), with_signature)
    signers = [*(one.identity for one in release.signers), session.identity]
    emit({"digest": release.digest, "identity": session.identity, "issuer": session.issuer, "signers": signers}, output)


def _is_signature(attestation: bytes) -> bool:
    from app.core import statements
    from app.core.attestation_claims import claimed

    return claimed(attestation).predicate_type == statements.PROVENANCE


def _require_another(identity: str, names: Iterable[str], bundle: Path) -> None:
    from app.core.signer_pattern import person

    if person(identity) in map(person, names):
        raise UsageError(f"{identity} has signed {bundle.name} already; somebody else must countersign it")
