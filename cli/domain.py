"""`placet domain`: trust domains that are linked with the control plane's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.core import strict_json
from app.core.errors import UsageError
from app.core.files import read_bounded, write_atomically
from cli import client
from cli.output import Output, OutputOption, emit

app = typer.Typer(epilog="Examples: placet domain link partner.example  ·  placet domain list")

DomainArgument = Annotated[str, typer.Argument(help="A trust domain, such as partner.example.", show_default=False)]

_MAX_FILE = 256 * 1024


@app.command(
    epilog="Example: placet domain link partner.example --keys partner-keys.json  ·  "
    "the partner makes the file with: placet domain export -o partner-keys.json"
)
def link(
    domain: DomainArgument,
    keys: Annotated[
        Path | None, typer.Option(help="What its control plane exported: take its warrants and attestation results.")
    ] = None,
    warrants: Annotated[
        bool, typer.Option("--warrants/--no-warrants", help="Whether its warrants are taken, with --keys.")
    ] = True,
    attestations: Annotated[
        bool, typer.Option("--attestations/--no-attestations", help="Whether its results are taken, with --keys.")
    ] = True,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take subjects of another trust domain, and with --keys what its control plane signs. Replaces an older link.

    Its identity issuers are trusted one by one: placet issuer add … --domain DOMAIN.
    """
    body: dict[str, Any] = {"domain": domain}
    if keys is not None:
        exported = _exported(keys, domain)
        body["signer"] = exported["signer"]
        for name, wanted in (("warrant_jwks", warrants), ("attestation_jwks", attestations)):
            if wanted:
                body[name] = exported[name]
    with client.connect(server, token_file) as plane:
        emit(plane.post("/api/v1/domains", json=body), output)


@app.command(epilog="Example: placet domain unlink partner.example")
def unlink(
    domain: DomainArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take nothing of a trust domain any more."""
    with client.connect(server, token_file) as plane:
        plane.delete("/api/v1/domains", domain=domain)
    emit({"unlinked": domain}, output)


@app.command("list", epilog="Example: placet domain list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the linked trust domains."""
    with client.connect(server, token_file) as plane:
        found = plane.get("/api/v1/domains")
    if output is Output.TABLE:
        found = [_row(one) for one in found]
    emit(found, output, columns=["domain", "signer", "warrant_keys", "attestation_keys", "since"])


@app.command(epilog="Example: placet domain export -o example-org-keys.json")
def export(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write it to this file, and do not print it.")] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.JSON,
) -> None:
    """This control plane's domain, name and public keys, for a partner to link."""
    with client.connect(server, token_file) as plane:
        own = plane.get("/api/v1/domains/own")
    if out is not None:
        write_atomically(out, strict_json.canonical(own) + b"\n", mode=0o644)
        own = {"domain": own["domain"], "signer": own["signer"], "keys": str(out)}
    emit(own, output)


def _row(link: dict[str, Any]) -> dict[str, Any]:
    return link | {name: [key["kid"] for key in link[name]] for name in ("warrant_keys", "attestation_keys")}


def _exported(file: Path, domain: str) -> dict[str, Any]:
    try:
        document = strict_json.load_object(read_bounded(file, _MAX_FILE, "the exported keys"))
    except strict_json.StrictJSONError as error:
        raise UsageError(f"{file} is not what placet domain export writes: {error}") from error
    if missing := {"domain", "signer", "warrant_jwks", "attestation_jwks"} - document.keys():
        raise UsageError(f"{file} is not what placet domain export writes: it lacks {min(missing)}")
    if document["domain"] != domain:
        raise UsageError(f"{file} is about the domain {document['domain']}, not {domain}")
    return document
