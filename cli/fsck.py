"""`placet lineage fsck`, also `placet server fsck`: name whatever was changed of what is stored of records."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.complaint import many
from app.core.errors import Denied, PlacetError, UsageError
from cli.output import Output, emit, json_text, say
from cli.progress import Shown
from cli.server_directory import DirectoryOption, directory_of

if TYPE_CHECKING:
    from app.control.fsck import Finding, Progress

#: Findings that are kept for a table or a document. Lines have no limit.
_KEPT = 10_000


class Form(StrEnum):
    """How findings are printed."""

    TABLE = "table"
    JSON = "json"
    LINES = "lines"


def fsck(
    directory: DirectoryOption = None,
    lineage_trust_config: Annotated[
        Path | None,
        typer.Option(
            "--lineage-trust-config",
            help="A Sigstore ClientTrustConfig, of the log of signed batches. "
            "Default: lineage_trust_config of settings.json.",
            show_default=False,
        ),
    ] = None,
    identity_issuer: Annotated[
        list[str] | None,
        typer.Option(
            "--identity-issuer",
            metavar="URL",
            help="The URL by which this control plane issues its sidecars' identities, as `server run` has it; "
            "repeat it for former ones. Default: http://127.0.0.1:8470.",
            show_default=False,
        ),
    ] = None,
    trust_config: Annotated[
        Path | None,
        typer.Option(
            "--trust-config",
            help="A Sigstore ClientTrustConfig, to verify the evidence of releases, approvals and modes again. Without "
            "it that is only compared with digests and rows.",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            help="Directory or URL of the lineage log: read it, too, and name any tile of which a bit was changed.",
            show_default=False,
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="Of this system alone.", show_default=False)] = None,
    sidecar: Annotated[str | None, typer.Option(help="Of sidecars of this name alone.", show_default=False)] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Batches received since then, such as 2026-01-31T12:00:00Z.", show_default=False),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes that check batches.")] = 1,
    output: Annotated[
        Form, typer.Option("--output", help="How to print findings; lines: JSON, each when it is found.")
    ] = Form.TABLE,
) -> None:
    """Check every stored row and object of records against what sidecars signed. Changes nothing.

    Exit code 0: nothing was found; 3: something was; 1: not everything could be read.
    """
    from app.control import fsck as checker
    from app.control import processes
    from app.control.identity_issuer import issuer_url
    from app.control.plane import DEFAULT_IDENTITY_ISSUER
    from app.control.settings import Settings
    from cli import warrant_options as options
    from cli.server_verifiers import batch_verifier

    settings = Settings.load(directory_of(directory))
    trust = lineage_trust_config or settings.lineage_trust
    if trust is not None:
        batch_verifier(trust)  # what cannot be read is said now
    if log is not None and trust is None:
        raise UsageError("--log needs --lineage-trust-config, which names the log's key")
    read = checker.Log(log, trust) if log is not None and trust is not None else None
    if trust_config is not None:
        batch_verifier(trust_config)
    said = partial(checker.proved_by, trust_config) if trust_config is not None else checker.said_by
    issuers = tuple(map(issuer_url, identity_issuer or [DEFAULT_IDENTITY_ISSUER]))
    verifier = partial(_some_verifier, trust) if trust is not None else None
    begins = datetime.fromtimestamp(options.moment(since, "--since"), UTC) if since is not None else None
    findings: list[dict[str, Any]] = []
    dropped = 0

    def found(finding: Finding) -> None:
        nonlocal dropped
        if output is Form.LINES:
            sys.stdout.write(json_text(finding.as_dict()) + "\n")
            sys.stdout.flush()
        elif len(findings) < _KEPT:
            findings.append(finding.as_dict())
        else:
            dropped += 1

    start = time.monotonic()
    processes.settle()
    try:
        with Shown("checking: ") as shown:
            report = checker.check(
                checker.Means(settings, issuers, verifier, read, said),
                found,
                scope=checker.Scope(system, sidecar, begins),
                jobs=jobs,
                progress=lambda progress: shown(_text(progress)),
            )
    except Denied as denied:
        raise PlacetError(str(denied)) from denied  # exit code 3 is for what was found
    checked = {name: value for name, value in vars(report).items() if name != "breaks"}
    document = {"checked": checked, "seconds": round(time.monotonic() - start, 3), "breaks": report.breaks}
    if output is Form.JSON:
        unused = [one for one in findings if one["kind"] == "unused"]
        wrong = [one for one in findings if one["kind"] != "unused"]
        emit({**document, "findings": wrong, "unused": unused, "not_listed": dropped}, Output.JSON)
    elif output is Form.TABLE:
        if findings:
            emit(findings, Output.TABLE)
        if dropped:
            say(f"and {dropped} more; --output lines prints all of them")
        if report.breaks:
            emit(report.breaks, Output.TABLE)
    if log is not None and "://" in log:
        say("partial tiles that wider ones took the place of were not read: only the log's directory lists them")
    say(_summary(checked, report.breaks))
    if report.findings:
        raise typer.Exit(3)


def _some_verifier(trust: Path) -> Any:
    from cli.server_verifiers import batch_verifier

    return batch_verifier(trust)


def _summary(checked: dict[str, Any], breaks: list[dict[str, Any]]) -> str:
    still = sum(one["cleared_at"] is None for one in breaks)
    statements = f", {many(checked['links'], 'statement')}" if checked["links"] else ""
    if checked["log"] is not None:
        statements += f", {many(checked['log'], 'entry', 'entries')} of the log"
    return (
        f"{many(checked['batches'], 'batch', 'batches')} with {many(checked['entries'], 'entry', 'entries')} and "
        f"{many(checked['decisions'], 'decision')}, {many(checked['states'], 'trust state')}{statements}: "
        f"{many(checked['findings'], 'finding') if checked['findings'] else 'no findings'}; "
        f"{many(checked['unsigned'], 'batch', 'batches')} came unsigned, so nobody proves place and origin; "
        f"{still} open and {many(len(breaks) - still, 'cleared break')}"
    )


def _text(progress: Progress) -> str:
    return f"{progress.step} {progress.done} of {progress.of}" if progress.of else progress.step
