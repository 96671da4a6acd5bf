"""`placet warrant key`: keys of holders, made here, and keys with which the control plane signs warrants."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.core.files import write_atomically, write_together
from cli import client
from cli import warrant_options as options
from cli.api_path import api
from cli.output import Output, OutputOption, emit

app = typer.Typer(epilog="Examples: placet warrant key new agent.pem  ·  placet warrant key list")

_COLUMNS = ["kid", "purpose", "alg", "status", "announced_at", "signs_from", "published_until"]


class Algorithm(StrEnum):
    """What a holder's key may be."""

    EDDSA = "EdDSA"
    ES256 = "ES256"


class Purpose(StrEnum):
    """What the control plane signs with a key."""

    WARRANT = "warrant"
    ATTESTATION = "attestation"
    #: Identity tokens of sidecars.
    IDENTITY = "identity"


PurposeOption = Annotated[Purpose, typer.Option(help="What the key signs.")]


@app.command(epilog="Example: placet warrant key new agent.pem")
def new(
    file: Annotated[Path, typer.Argument(help="Where the private key goes, mode 0600.", show_default=False)],
    alg: Annotated[Algorithm, typer.Option(help="EdDSA (Ed25519), or ES256 (P-256).")] = Algorithm.EDDSA,
    passphrase_file: options.PassphraseOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a holder's key: FILE (PEM, encrypted if there is a passphrase) and FILE.jwk, the public key."""
    from app.core import holder_keys

    public = file.with_name(file.name + ".jwk")
    options.new_file(file)
    options.new_file(public)
    key = holder_keys.generate(alg)
    secret = options.passphrase(passphrase_file)
    write_together({file: holder_keys.store_private(key, secret)}, mode=0o600)
    write_atomically(public, json.dumps(key.jwk).encode() + b"\n", mode=0o644)
    emit(
        {
            "private": str(file),
            "public": str(public),
            "thumbprint": holder_keys.thumbprint(key.jwk),
            "encrypted": secret is not None,
        },
        output,
    )


@app.command("list", epilog="Example: placet warrant key list")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the control plane's signing keys, and which of them signs now."""
    with client.connect(server, token_file) as plane:
        emit(plane.get("/api/v1/signing-keys"), output, columns=_COLUMNS)


@app.command(epilog="Example: placet warrant key rotate --lead 1h")
def rotate(
    purpose: PurposeOption = Purpose.WARRANT,
    lead: Annotated[
        str, typer.Option(help="How long the new key is published before it signs; 0s: it signs at once.")
    ] = "60s",
    key: Annotated[str | None, typer.Option(help="URI of a key in a KMS or token. Default: a new file.")] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change the control plane's key without a gap: the old one stays published while what it signed is valid."""
    body = {"lead_seconds": options.duration(lead, "--lead", least=0), "key": key}
    with client.connect(server, token_file) as plane:
        emit(plane.post(api("signing-keys", purpose, "rotate"), json=body), output, columns=_COLUMNS)


@app.command(
    epilog="Example: placet warrant key withdraw 9f2c41d7a8e05b36",
    context_settings=client.TAKES_AN_ID,
)
def withdraw(
    kid: Annotated[str, typer.Argument(help="The key's id, as the list shows it.", show_default=False)],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Publish a key no longer, at once: whatever it signed is denied. For a key that may be in others' hands."""
    with client.connect(server, token_file) as plane:
        plane.delete(api("signing-keys", kid))
    emit({"withdrawn": kid}, output)
