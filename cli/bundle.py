"""`placet bundle`: from a directory of Rego to a signed release on a channel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from app.core.complaint import many
from app.core.errors import UsageError
from app.core.files import read_bounded
from cli import bundle_attest, bundle_build, bundle_countersign, bundle_look, client, outputs, signing
from cli.api_path import system_path
from cli.output import Output, OutputOption, emit, say
from cli.pinned_opa import OpaOption, pinned_opa
from cli.progress import busy
from cli.release_files import attestations_of, beside, release_files

app = typer.Typer(
    epilog="Example: placet bundle build bundles/payments -o payments.tar.gz  ·  placet bundle inspect payments.tar.gz"
)

BundleArgument = Annotated[Path, typer.Argument(help="The bundle, a .tar.gz.", show_default=False)]
IdentityOption = Annotated[str | None, typer.Option("--certificate-identity", help="The identity that may sign.")]
IssuerOption = Annotated[str | None, typer.Option("--certificate-oidc-issuer", help="The issuer of that identity.")]
PolicyOption = Annotated[
    Path | None, typer.Option("--policy", help="A verification policy (YAML), in place of the two options above.")
]

app.command(epilog=bundle_build.EPILOG)(bundle_build.build)
app.command(epilog=bundle_look.INSPECT_EPILOG)(bundle_look.inspect)
app.command(epilog=bundle_look.DIFF_EPILOG)(bundle_look.diff)


@app.command(
    epilog="Example: placet bundle sign payments.tar.gz --trust-config trust-config.json --identity-token t.jwt"
)
def sign(
    bundle: BundleArgument,
    link: Annotated[
        list[Path] | None,
        typer.Option(help="A signed link of `placet step run`, for policies whose layout has its step. Repeatable."),
    ] = None,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    identity_token: signing.IdentityTokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Sign a bundle with Sigstore: SLSA provenance, and in-toto links for the steps build and sign.

    Writes BUNDLE.sigstore.json and BUNDLE.attestations.jsonl, which cosign and sigstore-python verify as they are.
    What the latter holds about this bundle already stays there.
    """
    from app.core import archive, attestation_file, building, ci_run
    from app.core.attestation_claims import claimed
    from app.core.evidence_form import MAX_EVIDENCE

    raw = read_bounded(bundle, archive.MAX_COMPRESSED, "the bundle")
    notes = beside(bundle, ".build.json")
    found = read_bounded(notes, archive.MAX_COMPRESSED, "the build notes") if notes.exists() else None
    links = [read_bounded(path, MAX_EVIDENCE, "the link").strip() for path in link or []]
    for path, one in zip(link or [], links, strict=True):
        if claimed(one, str(path)).step is None:
            raise UsageError(f"{path} is no link; `placet step run` makes one")
    unsigned = building.release_statements(raw, found, bundle.name, run=ci_run.of(os.environ))
    session = signing.session(trust_config, staging, identity_token)
    path = attestations_of(bundle)
    outputs.require(path, beside(bundle, ".sigstore.json"))
    with busy("signing"):
        signature = session.sign(unsigned.provenance)
        attestations = [session.sign(one) for one in unsigned.links(signature)]
    left_out = 0

    def with_links(existing: list[bytes]) -> list[bytes]:
        nonlocal left_out
        kept, left_out = attestation_file.kept(
            existing, lambda one, _: unsigned.digest in one.subjects and one.step not in unsigned.steps
        )
        return [*attestations, *kept, *links]

    attestation_file.change(path, with_links, beside={beside(bundle, ".sigstore.json"): signature})
    if left_out:
        say(f"replaced in {path.name}: {many(left_out, 'attestation')}, of another bundle or of the steps signed now")
    if any(unsigned.digest not in claimed(one).subjects for one in links):
        say("links about other things than the bundle were added: verify it by a policy whose `layout` has their steps")
    emit(
        {
            "digest": unsigned.digest,
            "identity": session.identity,
            "issuer": session.issuer,
            "links": len(attestations) + len(links),
        },
        output,
    )


app.command(epilog=bundle_attest.EPILOG)(bundle_attest.attest)
app.command(epilog=bundle_countersign.EPILOG)(bundle_countersign.countersign)


@app.command(
    epilog="Example: placet bundle verify payments.tar.gz --certificate-identity dev@example.org "
    "--certificate-oidc-issuer https://accounts.example.org"
)
def verify(
    bundle: BundleArgument,
    certificate_identity: IdentityOption = None,
    certificate_oidc_issuer: IssuerOption = None,
    policy: PolicyOption = None,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a bundle and its evidence as the control plane and the sidecars do. Exit code 3 when it is denied."""
    files = release_files(bundle)
    checker = pinned_opa(opa)
    checker.expect()  # it starts while the rest is imported
    from app.core import condition_check
    from app.core.errors import Denied
    from app.core.verification import split_attestations, verify_release
    from app.core.verification_policy import VerificationPolicy

    rules = VerificationPolicy.of(certificate_identity, certificate_oidc_issuer, policy)
    condition_check.require(rules, checker, policy)
    trusted = signing.trust(trust_config, staging)
    try:
        with busy("verifying"):
            release = verify_release(
                files["bundle"],
                files["signature"],
                split_attestations(files["attestations"]),
                policy=rules,
                trust=trusted,
                opa=checker,
            )
    except Denied as denied:
        if output is Output.JSON:
            emit({"verified": False, **denied.as_dict()}, output)
        raise
    emit(
        {
            "verified": True,
            "digest": release.digest,
            "identity": release.signer.identity,
            "issuer": release.signer.issuer,
            "signers": [one.identity for one in release.signers],
            "signed_at": release.signed_at.isoformat(),
            "entrypoint": release.manifest.entrypoint,
            "attestations": [one.predicate_type for one in release.attestations],
        },
        output,
    )


@app.command(epilog="Example: placet bundle publish payments.tar.gz --system payments --channel prod")
def publish(
    bundle: BundleArgument,
    system: Annotated[str, typer.Option("--system", help="The system that takes the policy.")],
    channel: Annotated[str, typer.Option("--channel", help="The channel to point at it, such as prod.")],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    identity_token: signing.IdentityTokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send a signed bundle to the control plane and point a channel at it. Safe to repeat.

    Leaves a signed in-toto link for the step publish with the release.
    """
    from app.core import attestation_file, building

    files = release_files(bundle)
    plane = client.connect(server, token_file)
    session = signing.session(trust_config, staging, identity_token)
    with busy("publishing"):
        link = session.sign(building.publish_link(files["bundle"], files["signature"], bundle.name, system, channel))
        release: dict[str, Any] = plane.upload(
            system_path(system, "releases"),
            {
                "bundle": files["bundle"],
                "signature": files["signature"],
                "attestations": attestation_file.appended(files["attestations"], link),
            },
        )
        pointer = plane.put(system_path(system, "channels", channel), json={"release": release["digest"]})
    emit(pointer, output)
