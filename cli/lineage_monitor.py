"""`placet lineage monitor`: follow the lineage log; and `entries`: what the control plane says that it must hold."""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from app.core.errors import Denied, PlacetError, UsageError
from app.core.trust_domain import trust_domain
from cli import client, warrant_options
from cli.deadline import within
from cli.output import Output, OutputOption, emit, json_text, say
from cli.progress import busy

if TYPE_CHECKING:
    from app.core.log_expected import Expected
    from app.core.log_findings import Report
    from app.core.log_monitor import Monitor
    from app.core.log_monitor_state import MonitorState
    from app.core.log_witness import Witness

ENTRIES = "/api/v1/lineage/entries"

MONITOR_EPILOG = (
    "Example: placet lineage monitor --log https://rekor.example.org/api/v2 --lineage-trust-config trust-config.json "
    "--state monitor.json --every 60s  ·  exit codes: 0 the log holds, 1 it or a witness does not answer, 3 it does not"
)
ENTRIES_EPILOG = "Example: placet lineage entries --output json > expected.json"


def monitor(
    log: Annotated[str, typer.Option(help="The log's tiles: their prefix (http, https), or its directory.")],
    trust_config: Annotated[
        Path, typer.Option("--lineage-trust-config", help="A ClientTrustConfig that names the log's key.")
    ],
    state: Annotated[Path, typer.Option(help="Where it is kept what was seen. Made by the first look.")],
    expect: Annotated[
        Path | None,
        typer.Option(help="A file of the entries that must be there (placet lineage entries).", show_default=False),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help="Ask this control plane what must be there. Without it no token is needed.", show_default=False
        ),
    ] = None,
    token_file: client.TokenFileOption = None,
    system: Annotated[str | None, typer.Option(help="Ask it for this system alone.", show_default=False)] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            help="The trust domain whose sidecars' entries must all be claimed. Default: what the control plane says.",
            show_default=False,
        ),
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(help="A file or an address that holds a checkpoint that somebody else saw. May be given again."),
    ] = None,
    grace: Annotated[str, typer.Option(help="How long an entry of a sidecar may wait to be claimed.")] = "1h",
    archive: Annotated[
        Path | None,
        typer.Option(help="Keep each checkpoint, and the tiles at its edge, in this directory.", show_default=False),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(help="Look again after this time, such as 60s, until something is found.", show_default=False),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, which is the default.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Read the log from its first entry again.")] = False,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="Go on after entries that are missing or not claimed; you looked.")
    ] = False,
    deadline: Annotated[
        str, typer.Option(help="How long one look may take: whoever answers slowly enough would hide the log.")
    ] = "1h",
    output: OutputOption = Output.TABLE,
) -> None:
    """Check that the lineage log only grows, holds every entry that it must, and none that nobody claims.

    What is found stays: the state is saved only after a look that found nothing, so the next one finds it again.
    """
    if every and once:
        raise UsageError("give --once or --every, not both")
    if expect and server:
        raise UsageError("give --expect or --server, not both")
    interval = warrant_options.duration(every, "--every") if every else None
    seconds = warrant_options.duration(grace, "--grace")
    longest = warrant_options.duration(deadline, "--deadline")
    if not state.parent.is_dir():
        raise UsageError(f"{state.parent} is no directory: --state is a file in one")
    from app.core.file_lock import AlreadyLocked, file_lock

    with ExitStack() as running:
        try:
            running.enter_context(file_lock(state.with_name(f"{state.name}.lock")))
        except AlreadyLocked as error:
            raise PlacetError(f"another monitor keeps {state}; give each its own") from error
        others = _others(expect, server, token_file, system, witness or [], running)
        watching = _monitor(log, trust_config, others, _own(domain, system), seconds, running)
        look = _Look(watching, state, archive, acknowledge, output, longest)
        if interval is None:
            look(full)
            return
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell has what it starts in the background ignore Ctrl-C
            signal.signal(number, _interrupt)
        try:
            _follow(look, interval, full)
        except KeyboardInterrupt:
            say("stopped")


def entries(
    system: Annotated[str | None, typer.Option(help="Of this system alone.", show_default=False)] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List every entry that the lineage log must hold, for a monitor that may not ask the control plane (--expect)."""
    from app.core.log_expected import Onwards

    onwards = Onwards()
    with client.connect(server, token_file) as plane, busy("asking for entries"):
        whole = plane.get(ENTRIES, system=system)
        page = whole
        while page["more"]:
            after, page = page["next"], plane.get(ENTRIES, system=system, after=page["next"])
            onwards.require(after, page["next"], len(page["entries"]), more=page["more"])
            whole["entries"] += page["entries"]
    whole |= {"next": page["next"], "more": False}
    emit(whole if output is Output.JSON else whole["entries"], output, columns=["index", "name", "leaf"])


class _Look:
    """One look after another, each from the state that the last one left."""

    def __init__(
        self, watching: Monitor, state: Path, archive: Path | None, acknowledge: bool, output: Output, longest: int
    ) -> None:
        self._monitor, self._file, self._archive = watching, state, archive
        self._acknowledge, self._output, self._longest = acknowledge, output, longest

    def __call__(self, full: bool, *, line: bool = False) -> None:
        """Look. Raises `Denied` when something is found, `LogUnavailable` when somebody does not answer (in time)."""
        from app.core.log_monitor_state import MonitorState
        from app.core.log_source import LogUnavailable

        state = MonitorState.load(self._file, self._monitor.trust)
        late = LogUnavailable(f"the look was not done in {self._longest:g} seconds (--deadline)")
        with busy("reading the log"), within(self._longest, late):
            report, after = self._monitor.look(state, full=full)
        _print(report, self._output, line)
        if report.findings:
            self._keep(report)
            if self._acknowledge:
                self._go_on(report, after)
            first = report.findings[0]
            more = len(report.findings) + report.further - 1
            raise Denied(first.reason, first.detail + (f" (and {more} more)" if more else ""), step="log")
        self._save(after)
        if report.unavailable:
            raise LogUnavailable("; ".join(report.unavailable))

    def _save(self, state: MonitorState) -> None:
        if self._archive is not None:
            from app.core.log_archive import keep
            from app.core.log_tiles import LogTiles

            assert state.checkpoint is not None
            keep(self._archive, state.checkpoint, LogTiles(self._monitor.source, state.checkpoint.size))
        state.save(self._file)

    def _keep(self, report: Report) -> None:
        """Both checkpoints of a contradiction, as evidence, beside the state: the log may change them again."""
        from app.core.log_archive import keep_evidence

        found = tuple(checkpoint for finding in report.findings for checkpoint in finding.checkpoints)
        if found:
            directory = self._file.with_name(f"{self._file.name}.evidence")
            keep_evidence(directory, found, json.dumps(report.as_dict(), indent=2).encode())
            say(f"the evidence is kept in {directory}")

    def _go_on(self, report: Report, state: MonitorState) -> None:
        from app.core.reason_codes import Reason

        if {one.reason for one in report.findings} - {Reason.LOG_MISSING, Reason.LOG_UNEXPECTED} or report.further:
            raise UsageError(
                "what the log signed, or shows, is not for --acknowledge: restore the log, or begin a new state"
            )
        known = {one.index for one in report.findings}
        state.unclaimed = {index: one for index, one in state.unclaimed.items() if index not in known}
        self._save(state)
        say("acknowledged: the next look goes on from here")


def _follow(look: _Look, interval: int, full: bool) -> None:
    while True:
        try:
            look(full, line=True)
            full = False
        except PlacetError as error:  # the log, a witness or the control plane does not answer: that passes
            if isinstance(error, Denied | UsageError) and not isinstance(error, client.Refused):
                raise
            say(str(error))
        time.sleep(interval)


def _monitor(
    log: str,
    trust_config: Path,
    others: tuple[Expected | None, list[Witness]],
    own: str | None,
    grace: int,
    running: ExitStack,
) -> Monitor:
    from app.core.log_monitor import Monitor
    from app.core.log_source import opened
    from app.core.trust import TrustConfig

    source = running.enter_context(opened(log))
    return Monitor(source, TrustConfig.from_file(trust_config), *others, own, grace)


def _others(
    expect: Path | None,
    server: str | None,
    token_file: Path | None,
    system: str | None,
    witnesses: list[str],
    running: ExitStack,
) -> tuple[Expected | None, list[Witness]]:
    """Who says what the log must hold, and who else saw it."""
    from app.core.log_expected import ExpectedFile
    from app.core.log_witness import witness

    others = [witness(one) for one in witnesses]
    if not server:
        return ExpectedFile(expect) if expect else None, others
    plane, name = running.enter_context(client.connect(server, token_file)), f"the control plane at {server}"
    return _Plane(plane, system, name), [*others, _PlaneWitness(plane, name)]


def _own(domain: str | None, system: str | None) -> str | None:
    """How the identities begin that `--domain` means."""
    if domain is None:
        return None
    return f"spiffe://{trust_domain(domain)}/sidecar/{f'{system}/' if system else ''}"


class _Plane:
    """What a control plane says that the log must hold."""

    def __init__(self, plane: client.ControlPlane, system: str | None, name: str) -> None:
        self._plane, self._system, self._name = plane, system, name

    def page(self, after: str | None) -> Any:
        from app.core.log_expected import checked_page

        return checked_page(self._plane.get(ENTRIES, system=self._system, after=after), self._name)


class _PlaneWitness:
    """What a control plane saw of the log."""

    def __init__(self, plane: client.ControlPlane, name: str) -> None:
        self._plane, self.name = plane, name

    def read(self) -> bytes | None:
        return self._plane.get_bytes("/api/v1/lineage/checkpoint")


def _print(report: Report, output: Output, line: bool) -> None:
    document = report.as_dict()
    if output is Output.JSON and line:
        sys.stdout.write(json_text(document) + "\n")
        sys.stdout.flush()
        return
    if output is Output.JSON:
        emit(document, output)
        return
    now, before = report.now, report.before
    counts = {name: document[name] for name in ("scanned", "own", "expected", "elsewhere", "witnessed", "unclaimed")}
    size = {"entries": str(now.size) if now else None, "root": now.root.hex() if now else None}
    emit({"log": report.log, **size, "before": str(before.size) if before else None, **counts}, output)
    if report.findings:
        emit(document["findings"], output, columns=["reason", "index", "entry", "detail"])


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
