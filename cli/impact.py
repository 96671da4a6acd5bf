"""`placet decision impact`: what a new policy would have decided of the past."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.complaint import many
from app.core.errors import PlacetError, UsageError
from cli import client
from cli.api_path import system_path
from cli.impact_options import share
from cli.output import Output, OutputOption, emit, say
from cli.progress import counted
from cli.warrant_options import duration, time_of

if TYPE_CHECKING:
    from app.core.impact import Report
    from cli.decision_sources import FromControlPlane

#: Seconds before now at which the past ends: what is younger may still be on its way.
SETTLED = 60

_COLUMNS = ["change", "count", "action", "resource_type", "issuer", "reason", "examples"]


def impact(
    system: Annotated[str, typer.Option(help="The system whose past is looked at.", show_default=False)],
    release: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="A release of the system, sha256:….", show_default=False),
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Or a policy bundle, a .tar.gz.", show_default=False)] = None,
    since: Annotated[str, typer.Option(metavar="DURATION|TIME", help="From when on: 7d, or RFC 3339.")] = "7d",
    until: Annotated[
        str | None, typer.Option(help="Before this time, RFC 3339. Default: a minute ago.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many of the newest.", min=1, show_default=False)] = None,
    max_changed: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="Exit with 3 when more decisions change or are unknown.", show_default=False),
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Keep the report at the control plane.")] = False,
    opa: Annotated[Path | None, typer.Option("--opa", help="Another OPA than the pinned build.")] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make past decisions again with a new policy in the place of each one's own, and say which change.

    Everything else is as it was: request, clock, trust state, library. Changes are grouped, with a few examples each.
    """
    if (release is None) == (bundle is None):
        raise UsageError("name the new policy: --release DIGEST or --bundle FILE")
    if record and limit is not None:
        raise UsageError("--record keeps reports of all decisions of a time: leave --limit out")
    begin, end = _time(since, until)
    allowed = share(max_changed, "--max-changed") if max_changed is not None else None

    from cli.decision_sources import FromControlPlane

    with client.connect(server, token_file) as plane:
        stored = FromControlPlane(plane)
        raw = _bundle(stored, release, bundle)
        filters = {"system": system, "since": begin.isoformat(), "until": end.isoformat()}
        report = _examined(raw, stored, stored.feed(filters, limit), opa)
        document = report.document() | {"system": system, "since": filters["since"], "until": filters["until"]}
        if record:
            document |= {"recorded": _recorded(plane, system, document)}
    _show(document, output)
    _judge(report, allowed, recorded=record)


def _time(since: str, until: str | None) -> tuple[datetime, datetime]:
    """When the past begins and ends."""
    end = time_of(until, "--until") if until is not None else datetime.now(UTC) - timedelta(seconds=SETTLED)
    end = end.astimezone(UTC).replace(microsecond=0)
    begin = time_of(since, "--since") if "-" in since else end - timedelta(seconds=duration(since, "--since"))
    if begin >= end:
        raise UsageError(f"--since {since} is not before {end:%Y-%m-%dT%H:%M:%SZ}, where the past ends")
    return begin.astimezone(UTC), end


def _bundle(stored: FromControlPlane, release: str | None, file: Path | None) -> bytes:
    """The new policy, which must be a bundle and of its digest."""
    from app.core.archive import MAX_COMPRESSED
    from app.core.bundle import digest_of, parse_bundle
    from app.core.files import read_bounded

    if file is not None:
        raw = read_bounded(file, MAX_COMPRESSED, "the bundle")
    else:
        found = stored.bundle(release or "") if (release or "").startswith("sha256:") else None
        if found is None:
            raise PlacetError(f"the control plane has no release {release}; publish it, or give its file: --bundle")
        raw = found
        if digest_of(raw) != release:
            raise PlacetError(f"what the control plane gave as the release {release} is {digest_of(raw)}")
    parse_bundle(raw)
    return raw


def _examined(raw: bytes, stored: FromControlPlane, records: Iterator[bytes], opa: Path | None) -> Report:
    from app.core.impact import Impact, Report
    from app.core.opa import Opa
    from app.local import tools
    from app.local.replay_opa import Opas
    from cli.decision_sources import say_what_decided

    began = time.monotonic()
    asked = Opa(opa or tools.installed("opa"))
    with Opas(asked) as opas:
        impact = Impact(raw, stored, opas.engine)
        report = Report(impact.policy)
        for one, effect in counted(impact.effects(records), "record"):
            report.add(one, effect)
    say_what_decided(impact, stored, asked)
    spent = time.monotonic() - began
    say(
        f"{many(report.records, 'record')} in {spent:.1f} s ({report.records / spent:.0f}/s): "
        f"{report.changed} changed, {report.unavailable.total()} unavailable"
    )
    return report


def _recorded(plane: client.ControlPlane, system: str, document: dict[str, Any]) -> dict[str, Any]:
    """Keep the report; what the control plane says of it."""
    names = ("since", "until", "records", "changed", "unavailable", "inputs", "groups")
    body = {"release": document["policy"], **{name: document[name] for name in names}}
    kept: dict[str, Any] = plane.post(system_path(system, "impact", "reports"), json=body)
    if not kept["complete"]:
        say("the control plane holds another number of decisions of that time: this report lets no channel go on")
    return {name: kept[name] for name in ("id", "complete", "recorded_by", "recorded_at")}


def _show(document: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        emit(document, output)
        return
    if document["groups"]:
        rows = [{**group, "examples": ", ".join(group["examples"][:2])} for group in document["groups"]]
        emit(rows, output, columns=_COLUMNS)
    for why, count in document["why_unavailable"].items():
        say(f"{count} unavailable: {why}")
    sys.stdout.flush()


def _judge(report: Report, allowed: dict[str, int | float] | None, *, recorded: bool) -> None:
    from app.core.errors import Denied
    from app.core.reason_codes import Reason

    if not report.records and not recorded:  # a new system has no past, and its report says so
        raise PlacetError("there was no decision record of that time")
    if allowed is None:
        return
    found = report.changed + report.unavailable.total()
    limit = int(allowed.get("max_changed", report.records * allowed.get("max_percent", 0) / 100))
    if found > limit:
        raise Denied(
            Reason.IMPACT_EXCEEDED, f"{found} of {report.records} decisions change or are unknown, {limit} may"
        )
