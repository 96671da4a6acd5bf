"""`placet lineage export`: an execution as classic in-toto metadata, which `in-toto-verify` reads."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.errors import PlacetError, UsageError
from app.core.files import read_bounded, sync_directory, write_together
from cli import client
from cli import warrant_options as options
from cli.api_path import api
from cli.output import Output, OutputOption, emit, say

if TYPE_CHECKING:
    from app.core.governance import Workflow
    from app.core.holder_keys import HolderKey

EXAMPLE = "Example: placet lineage export 018f3c5e7a2b4c6d8e -o evidence --key generated"

GENERATED = "generated"
_PUBLIC_KEY = "exporter.pub"
_MAX_LINEAGE = 64 * 1024 * 1024
_MAX_GOVERNANCE = 256 * 1024


def export(
    execution: Annotated[str, typer.Argument(help="The execution's id.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="A directory that does not exist yet.", show_default=False)],
    key: Annotated[
        str,
        typer.Option(help="Your private key (PEM, Ed25519 or P-256), or `generated`: a new one, which is thrown away."),
    ] = GENERATED,
    passphrase_file: options.PassphraseOption = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="What `placet lineage show --output json` printed. Default: ask the server."),
    ] = None,
    governance: Annotated[
        Path | None,
        typer.Option(help="What `placet governance show` printed: the layout demands what its workflow demands."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="Its system, where the id is in several.")] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a layout and a link for each statement of an execution, signed by you: derived evidence.

    Exit code 3 when the lineage is not whole, or does not keep to the workflow of --governance.
    """
    from app.core.classic_links import LAYOUT, Classic

    if out.exists():
        raise UsageError(f"{out} exists; choose another directory, or delete it")
    declared = _declared(governance) if governance else None
    signer = _signer(key, passphrase_file)
    classic = Classic.of(_lineage(execution, source, system, server, token_file), declared)
    if classic.execution != execution:
        raise UsageError(f"this is the lineage of execution {classic.execution}, not of {execution}")
    from securesystemslib.signer import CryptoSigner

    files = classic.signed(CryptoSigner(signer.private))
    _write(out, {**files, _PUBLIC_KEY: _public(signer)})
    if declared is None:
        say("Its layout says what was done; with --governance it says what the declared workflow demands.")
    layout, public = out / LAYOUT, out / _PUBLIC_KEY
    command = (
        f"in-toto-verify --layout {_quoted(layout)} --verification-keys {_quoted(public)} --link-dir {_quoted(out)}"
    )
    emit(
        {"execution": execution, "layout": str(layout), "links": len(files) - 1, "key": str(public), "verify": command},
        output,
    )


def _lineage(
    execution: str, source: Path | None, system: str | None, server: str | None, token_file: Path | None
) -> Mapping[str, Any]:
    if source is None:
        with client.connect(server, token_file) as plane:
            found = plane.get(api("executions", execution, "lineage"), system=system)
        if not isinstance(found, dict):
            raise PlacetError("the control plane did not answer with a lineage; is --server right?")
        return found
    return options.json_file(source, "the lineage", _MAX_LINEAGE)


def _declared(file: Path) -> dict[str, Workflow]:
    from pydantic import TypeAdapter, ValidationError

    from app.core import strict_yaml
    from app.core.complaint import complaint
    from app.core.governance import Workflow

    try:
        document = strict_yaml.load(read_bounded(file, _MAX_GOVERNANCE, "the governance"))
    except strict_yaml.StrictYAMLError as error:
        raise UsageError(f"{file}: {error}") from error
    workflows = document.get("workflows") if isinstance(document, dict) else None
    if not workflows:
        raise UsageError(f"{file} declares no workflows")
    try:
        return TypeAdapter(dict[str, Workflow]).validate_python(workflows)
    except ValidationError as error:
        raise UsageError(f"{file}: workflows: {complaint(error)}") from error


def _signer(key: str, passphrase_file: Path | None) -> HolderKey:
    from app.core import holder_keys

    return holder_keys.generate() if key == GENERATED else options.private_key(Path(key), passphrase_file)


def _public(key: HolderKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """All the files in a new directory, or none."""
    try:
        scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise UsageError(f"cannot write to {out.parent}: {error.strerror}") from error
    try:
        write_together({scratch / name: content for name, content in files.items()}, mode=0o644)
        scratch.chmod(0o755)
        scratch.rename(out)
        sync_directory(out.parent)
    except OSError as error:
        raise PlacetError(f"cannot write {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
