"""`placet bundle inspect` and `placet bundle diff`: what is in a bundle, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Output, OutputOption, emit
from cli.pinned_opa import OpaOption, pinned_opa
from cli.release_files import release_files

if TYPE_CHECKING:
    from app.core.bundle_contents import Contents
    from app.core.opa import Opa

INSPECT_EPILOG = (
    "Examples: placet bundle inspect payments.tar.gz --output json  ·  placet bundle inspect oci:layout:latest"
)
#: All that `build` writes, and what a registry has.
_FORMS = "FILE.tar.gz, DIRECTORY, oci:LAYOUT or oci://HOST/NAME:TAG"
DIFF_EPILOG = "Example: placet bundle diff payments-1.tar.gz payments-2.tar.gz"


def inspect(
    bundle: Annotated[str, typer.Argument(help=f"The bundle: {_FORMS}.", show_default=False)],
    allow_builtin: Annotated[
        list[str] | None, typer.Option(help="A builtin that the system's verification policy allows. Repeatable.")
    ] = None,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what is in a bundle, what its evidence claims, and why it would be refused. It verifies no signature."""
    contents = _contents(bundle, pinned_opa(opa), allow_builtin or ()).as_dict()
    if output is Output.JSON:
        emit(contents, output)
        return
    manifest = contents["manifest"] or {}
    rows: list[dict[str, Any]] = [
        {"what": "digest", "is": contents["digest"]},
        {"what": "bytes", "is": contents["bytes"]},
        *({"what": name, "is": value} for name, value in manifest.items()),
        *({"what": f"package {one['package']}", "is": ", ".join(one["rules"])} for one in contents["modules"]),
        *({"what": f"data {one['file']}", "is": f"{one['bytes']} bytes"} for one in contents["data"]),
        {"what": "builtins", "is": ", ".join(contents["builtins"])},
        *(
            {"what": "evidence, not verified", "is": f"{one['predicate']} by {one['identity']} ({one['issuer']})"}
            for one in contents["evidence"]
        ),
        *({"what": "would be refused", "is": f"{one['message']}; {one['remedy']}"} for one in contents["faults"]),
    ]
    emit(rows, output, columns=["what", "is"])


def diff(
    old: Annotated[str, typer.Argument(help=f"The bundle as it was: {_FORMS}.", show_default=False)],
    new: Annotated[str, typer.Argument(help="The bundle as it is.", show_default=False)],
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 when anything differs.")] = False,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which rules, data, manifest members, signers and evidence differ. It verifies no signature."""
    from app.core.bundle_contents import difference

    chosen = pinned_opa(opa)
    found = difference(_contents(old, chosen), _contents(new, chosen))
    if output is Output.JSON:
        emit(found, output)
    else:
        emit(_rows(found), output, columns=["what", "change", "is"])
    if exit_code and not (found["same"] and not _rows(found)):
        raise typer.Exit(1)


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for what in ("rules", "data", "signers", "evidence"):
        for change, sign in (("added", "+"), ("removed", "-"), ("changed", "~")):
            for one in found[what].get(change, []):
                shown = f"{one['path']}: {_became(one)}" if isinstance(one, dict) else one
                rows.append({"what": what.removesuffix("s"), "change": sign, "is": shown})
    rows += [{"what": "manifest", "change": "~", "is": f"{one['member']}: {_became(one)}"} for one in found["manifest"]]
    return rows


def _became(one: dict[str, Any]) -> str:
    """A change, where nothing may stand on one side of it."""
    old, new = ("nothing" if one[side] is None else one[side] for side in ("from", "to"))
    return f"{old} → {new}"


def _contents(bundle: str, opa: Opa, allow: Iterable[str] = ()) -> Contents:
    from app.core import allowed_builtins, archive, bundle_contents, bundle_manifest, bundle_source, oci
    from app.core.verification import split_attestations

    allowed = allowed_builtins.known(opa, [], allow)
    if bundle.startswith("oci:") or Path(bundle, "oci-layout").is_file():
        named = bundle if bundle.startswith("oci:") else f"oci:{bundle}"
        return bundle_contents.read(oci.read(named)[0], b"", [], opa, allowed)
    if Path(bundle).is_dir():
        source = bundle_source.read(bundle, git=False)
        allowed |= allowed_builtins.known(opa, bundle_manifest.settings([source]))
        return bundle_contents.read(archive.write_archive(source.files), b"", [], opa, allowed)
    files = release_files(Path(bundle))
    attestations = split_attestations(files["attestations"])
    return bundle_contents.read(files["bundle"], files["signature"], attestations, opa, allowed)
