"""`placet step`: steps of a release pipeline, each recorded in a signed in-toto link."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from app.core.errors import UsageError
from cli import outputs, signing
from cli.output import Output, OutputOption, emit
from cli.progress import busy

app = typer.Typer(epilog="Example: placet step run build -- placet bundle build bundles/payments -o payments.tar.gz")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@app.callback()
def _steps() -> None:
    """Steps of a release pipeline, each recorded in a signed in-toto link."""


@app.command(
    epilog="Example: placet step run build --materials 'policy/**/*.rego' --products payments.tar.gz -- "
    "placet bundle build policy -o payments.tar.gz"
)
def run(
    name: Annotated[str, typer.Argument(help="The step's name in the layout, such as build.", show_default=False)],
    command: Annotated[list[str], typer.Argument(help="The command, after --.", show_default=False)],
    materials: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Files that go in, such as 'policy/**/*.rego'. Repeatable."),
    ] = None,
    products: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Files that come out. Repeatable.")
    ] = None,
    materials_from: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A file with such patterns, one a line. Repeatable.")
    ] = None,
    products_from: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A file with such patterns, one a line. Repeatable.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Where to write the link. Default: NAME.link.sigstore.json.", show_default=False
        ),
    ] = None,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    identity_token: signing.IdentityTokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a command and sign what it made of what: an in-toto link (v0.3) in a Sigstore bundle.

    Names are paths relative to the current directory. What the command prints goes to stderr. When it fails, nothing
    is signed and the exit code is 1. `placet bundle sign --link` puts links among a release's evidence.
    """
    from app.core import recorded_step

    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a step: letters, digits, '.', '_' and '-', at most 64, such as build")
    target = out or Path(f"{name}.link.sigstore.json")
    outputs.require(target)  # before a command that may take an hour
    here = Path()
    wanted = recorded_step.patterns(products or [], products_from or [])
    if not wanted:
        raise UsageError("name what the step makes with --products, such as --products payments.tar.gz")
    before = recorded_step.artifacts(here, recorded_step.patterns(materials or [], materials_from or []))
    signing.check(trust_config, staging, identity_token)  # before a command that may take an hour
    recorded_step.run(command)
    after = recorded_step.artifacts(here, wanted)
    statement = recorded_step.link(name, command, before, after)
    session = signing.session(trust_config, staging, identity_token)
    with outputs.Place(target, mode=0o644) as place, busy("signing"):
        place.keep(session.sign(statement) + b"\n")
    emit(
        {
            "step": name,
            "link": str(target),
            "materials": len(before),
            "products": len(after),
            "identity": session.identity,
            "issuer": session.issuer,
        },
        output,
    )
