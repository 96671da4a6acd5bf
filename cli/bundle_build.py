"""`placet bundle build`: from Rego, wherever it lies, to a bundle that every sidecar takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.complaint import many
from app.core.errors import PlacetError, UsageError
from cli.output import Output, OutputOption, emit, say
from cli.pinned_opa import OpaOption, pinned_opa
from cli.progress import busy

if TYPE_CHECKING:
    from app.core.bundle_source import Source

EPILOG = (
    "Examples: placet bundle build bundles/payments -o payments.tar.gz  ·  "
    "placet bundle build git+https://git.example.org/policy@v1.0 -o policy.tar.gz  ·  "
    "placet bundle build old.tar.gz --entrypoint app/authz/allow -o oci:layout"
)


def build(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Directories; or one bundle, git+URL@REF[#DIRECTORY] (REF is a commit, a tag or a branch), "
            "oci://HOST/NAME:TAG or oci:LAYOUT.",
            show_default=False,
        ),
    ],
    out: Annotated[str, typer.Option("-o", "--out", help="What to write: FILE.tar.gz, DIRECTORY/ or oci:DIRECTORY.")],
    root: Annotated[
        list[str] | None,
        typer.Option(help="A tree that the bundle owns. Repeatable. Default: the manifest's, else inferred."),
    ] = None,
    entrypoint: Annotated[
        str | None, typer.Option(help="The rule that decides. Default: the manifest's, or the one annotated so.")
    ] = None,
    oldest_opa: Annotated[
        str | None, typer.Option("--oldest-opa", help="The version of the fleet's oldest OPA, such as 1.4.0.")
    ] = None,
    allow_builtin: Annotated[
        list[str] | None,
        typer.Option(help="A builtin that the system's verification policy allows. Repeatable. More: placet.yaml's."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Files to leave out, such as '*.yaml' or 'docs/*'. Repeatable.")
    ] = None,
    git: Annotated[
        bool, typer.Option("--git/--no-git", help="Whether the manifest says what git knows about the directory.")
    ] = True,
    clean: Annotated[
        bool, typer.Option("--clean", help="Build unchanged git commits alone, which a proof can name as the source.")
    ] = False,
    v0_compatible: Annotated[
        bool, typer.Option("--v0-compatible", help="All of it is older Rego (v0): convert it to today's.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict/--no-strict", help="Whether unused imports and variables are refused.")
    ] = True,
    opa: OpaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check and pack a policy. The same input gives the same bytes.

    Beside the bundle, OUT.build.json keeps what went into it, for the provenance that `sign` signs.
    """
    if clean and ignore:
        raise UsageError("--clean builds commits whole: leave out --ignore")
    chosen = pinned_opa(opa)
    chosen.expect(strict=strict)  # it starts while the rest is imported
    from app.core import allowed_builtins, building, bundle_output, bundle_source
    from app.core.bundle_manifest import Choices

    allowed = allowed_builtins.known(chosen, [], allow_builtin or ())
    choices = Choices(tuple(root or []), entrypoint, oldest_opa, allowed, strict, v0_compatible)
    if any(one.startswith(("git+", "oci://")) for one in sources):
        with busy("fetching"):
            given = [bundle_source.read(one, ignore=ignore or [], git=git) for one in sources]
    else:
        given = [bundle_source.read(one, ignore=ignore or [], git=git) for one in sources]
    changed = _changed(given, clean)
    try:
        with busy("checking and packing"):
            built = building.build(given, chosen, choices=choices)
    except building.Refused as refused:
        if output is Output.JSON:
            others = [one.as_dict() for one in refused.others]
            emit({"built": False, **refused.as_dict(), "others": others}, output)
        for one in refused.others:
            say(f"also: {one.reason}: {one.message}; {one.remedy}")
        raise
    path = bundle_output.write(out, built.bundle, built.notes)
    for difference in changed:
        say(f"warning: {difference}; the provenance will say so (dirty), and no proof can name a source")
    if built.left_out:
        more = f" and {len(built.left_out) - 5} more" if len(built.left_out) > 5 else ""
        say(f"left out: {', '.join(built.left_out[:5])}{more}")
    if built.converted:
        say(f"converted from Rego v0: {many(len(built.converted), 'module')}")
    if built.allowed:
        say(f"placet.yaml allows {', '.join(built.allowed)}; so must the system's verification policy")
    made = {"bundle": str(path), "digest": built.digest, "bytes": len(built.bundle)}
    emit({**made, **built.inferred, "dirty": bool(changed)}, output)


def _changed(given: Sequence[Source], clean: bool) -> list[str]:
    """Of which inputs the files are not those of their commit. Raises `PlacetError` for one, if they have to be."""
    for one in given if clean else ():
        if one.git is None:
            raise PlacetError(f"{one.name} is of no git commit that the build knows; build without --clean")
    changed = [
        f"files in {one.name} differ from commit {one.git.commit[:12]}" for one in given if one.git and one.git.dirty
    ]
    if clean and changed:
        raise PlacetError(f"{changed[0]}; commit or remove what is changed and new, or build without --clean")
    return changed
