"""`placet layout`: which steps lead to a release, and who may do each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from app.core.errors import Denied, PlacetError, UsageError
from app.core.files import read_bounded
from cli import outputs, signing
from cli.output import Output, OutputOption, emit
from cli.progress import busy
from cli.release_files import attestations_of

app = typer.Typer(
    epilog="Examples: placet layout sign layout.yaml  ·  "
    "placet layout verify layout.yaml payments.tar.gz --certificate-identity owner@example.org "
    "--certificate-oidc-issuer https://accounts.example.org"
)

LayoutArgument = Annotated[Path, typer.Argument(help="The layout, a YAML file.", show_default=False)]


@app.command(
    epilog="Example: placet layout new payments -o layout.yaml --bundle payments.tar.gz "
    "--functionary ci@example.org --functionary-issuer https://accounts.example.org"
)
def new(
    name: Annotated[str, typer.Argument(help="The layout's name, such as payments.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write it. Never overwrites.")],
    functionary: Annotated[str, typer.Option(help="The certificate identity that may do the steps.")],
    functionary_issuer: Annotated[str, typer.Option(help="The issuer of that identity.")],
    bundle: Annotated[
        str | None, typer.Option(help="The bundle's file name. Default: NAME.tar.gz.", show_default=False)
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until it expires.")] = 365,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a layout to start from: the steps build and sign, as `placet bundle` does them, by one functionary."""
    from pydantic import ValidationError

    from app.core import layout_form
    from app.core.complaint import complaint

    try:
        who = layout_form.Functionary(identity=functionary, issuer=functionary_issuer)
        text = layout_form.template(name, who, bundle or f"{name}.tar.gz", datetime.now(UTC) + timedelta(days=days))
    except ValidationError as error:
        raise UsageError(f"this makes no layout: {complaint(error)}") from error
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{out} is there already; name another file, or delete it") from error
    except OSError as error:
        raise PlacetError(f"cannot write {out}: {error.strerror}") from error
    found = layout_form.load(out)
    emit({"layout": str(out), "steps": [one.name for one in found.steps], "expires": found.expires}, output)


@app.command(epilog="Example: placet layout sign layout.yaml --trust-config trust-config.json --identity-token t.jwt")
def sign(
    layout: LayoutArgument,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    identity_token: signing.IdentityTokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Sign a layout with Sigstore, as the one who says how releases are made. Writes LAYOUT.sigstore.json."""
    from app.core import layout_form

    found = layout_form.load(layout)
    session = signing.session(trust_config, staging, identity_token)
    with outputs.Place(_signature(layout), mode=0o644) as place, busy("signing"):
        place.keep(session.sign(found.statement()) + b"\n")
    emit(
        {"layout": found.layout, "digest": found.digest, "identity": session.identity, "issuer": session.issuer}, output
    )


@app.command(
    epilog="Example: placet layout verify layout.yaml payments.tar.gz --certificate-identity owner@example.org "
    "--certificate-oidc-issuer https://accounts.example.org"
)
def verify(
    layout: LayoutArgument,
    bundle: Annotated[Path, typer.Argument(help="The bundle that the steps led to.", show_default=False)],
    certificate_identity: Annotated[str, typer.Option(help="Who must have signed the layout.")],
    certificate_oidc_issuer: Annotated[str, typer.Option(help="The issuer of that identity.")],
    link: Annotated[
        list[Path] | None,
        typer.Option(help="A signed link, NAME.link.sigstore.json, beside those in BUNDLE.attestations.jsonl."),
    ] = None,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify that a bundle came by the way that a signed layout allows. Exit code 3 when it did not.

    Nothing of the layout is run: it has no inspections.
    """
    from app.core import archive, attestation_file, layout_check, layout_form
    from app.core.bundle import digest_of
    from app.core.verification_policy import SignerIdentity, VerificationPolicy

    found = layout_form.load(layout)
    owner = SignerIdentity(identity=certificate_identity, issuer=certificate_oidc_issuer)
    digest = digest_of(read_bounded(bundle, archive.MAX_COMPRESSED, "the bundle"))
    trust = signing.trust(trust_config, staging)
    try:
        signature = _signature(layout)
        raw = read_bounded(signature, layout_form.MAX_SIGNED, "the layout's signature") if signature.exists() else b""
        signed = layout_check.require_signed(
            found, raw.strip(), policy=VerificationPolicy(identities=[owner]), trust=trust
        )
        kept = attestation_file.read(attestations_of(bundle))
        links = layout_check.of_steps(found, kept) + [_link(one) for one in link or []]
        verified = layout_check.require_layout(found, list(dict.fromkeys(links)), bundle=digest, trust=trust)
    except Denied as denied:
        if output is Output.JSON:
            emit({"verified": False, **denied.as_dict()}, output)
        raise
    emit(
        {
            "verified": True,
            "layout": found.layout,
            "signed_by": signed.signer.identity,
            "bundle": digest,
            "steps": {
                step.name: sorted(
                    {one.signer.identity for one in verified if one.statement["predicate"]["name"] == step.name}
                )
                for step in found.steps
            },
        },
        output,
    )


def _signature(layout: Path) -> Path:
    return layout.with_name(f"{layout.name}.sigstore.json")


def _link(path: Path) -> bytes:
    """A link, of the step that its file's name says: in-toto would take one step's link for another's."""
    from app.core.attestation_claims import claimed
    from app.core.evidence_form import MAX_EVIDENCE
    from app.core.reason_codes import Reason

    raw = read_bounded(path, MAX_EVIDENCE, "the link").strip()
    suffix = ".link.sigstore.json"
    if not path.name.endswith(suffix):
        raise UsageError(f"{path} is not named STEP{suffix}")
    step = claimed(raw, str(path)).step
    if step != path.name.removesuffix(suffix):
        raise Denied(
            Reason.EVIDENCE_LAYOUT, f"{path.name} holds the link of the step {step}", step="layout", field=path.name
        )
    return raw
