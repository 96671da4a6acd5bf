"""The whole check: every batch by itself, then what only all of them together show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from app.control.fsck import chain, leftovers, named, published, repeats, seals, values
from app.control.fsck.batch import Checked, Task
from app.control.fsck.claims import SIGNED
from app.control.fsck.finding import Finding, moved
from app.control.fsck.kept import Kept
from app.control.fsck.links import Links
from app.control.fsck.scratch import Scratch
from app.control.fsck.tables import Tables, reading
from app.control.fsck.workers import Means, workers
from app.control.objects import Objects
from app.control.settings import Settings
from app.control.store import Store, TrustState
from app.control.store.as_stored import instant
from app.control.store.seals import UNSEALED
from app.core.errors import PlacetError, UsageError

#: Batches that are asked of one process at once: with many, the others wait at the end for who has the last ones.
_CHUNK = 2

#: Findings that wait for another one that may say the same (`Finding.pair`).
_MAX_HELD = 10_000


@dataclass(frozen=True)
class Scope:
    """Of what is checked: everything, or of one system, of one of its sidecars, or received since then."""

    system: str | None = None
    sidecar: str | None = None
    since: datetime | None = None

    @property
    def where(self) -> tuple[str, dict[str, Any]]:
        """As a condition on batch rows."""
        bound: dict[str, Any] = {}
        if self.system is not None:
            bound["system"] = self.system
        if self.sidecar is not None:
            bound["sidecar"] = self.sidecar
        conditions = [f"{name} = :{name}" for name in bound]
        if self.since is not None:
            conditions.append("received_at >= :since")
            bound["since"] = instant(self.since)
        return " AND ".join(conditions) or "TRUE", bound


@dataclass
class Report:
    """How much was checked, and the breaks that are on record."""

    batches: int = 0
    #: Of those, the ones of which a signature proves nothing, since they came without one.
    unsigned: int = 0
    entries: int = 0
    decisions: int = 0
    states: int = 0
    #: Statements of journals.
    links: int = 0
    #: Rows that the control plane sealed.
    sealed: int = 0
    #: Entries of the lineage log; None where its tiles were not read.
    log: int | None = None
    #: Objects that no row names; None where that was not looked for.
    unused: int | None = None
    findings: int = 0
    breaks: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """How far it is."""

    step: str
    done: int = 0
    of: int = 0


Found = Callable[[Finding], None]


def check(
    means: Means,
    found: Found,
    *,
    scope: Scope = Scope(),
    jobs: int = 1,
    progress: Callable[[Progress], None] = lambda _: None,
    settled: timedelta = leftovers.SETTLED,
) -> Report:
    """Check what is stored and tell each finding when it is found, `unused` ones too, which do not count.

    Raises `PlacetError` when the database or the object store cannot be read.
    """
    run = _Run(means, found, scope, settled)
    with ExitStack() as stack:
        stack.callback(run.store.close)
        stack.enter_context(closing(run.scratch))
        with reading(run.store) as tables:
            run.everything(tables, jobs, progress)
    return run.report


class _Run:
    def __init__(self, means: Means, found: Found, scope: Scope, settled: timedelta) -> None:
        _require_there(means.settings)
        self._means, self._found, self._scope, self._settled = means, found, scope, settled
        self.store = Store(means.settings.database_url)
        self._objects = Objects(means.settings.objects_url)
        self.scratch = Scratch()
        self.report = Report()
        self._held: list[Finding] = []
        #: Rows that were named, by table and key.
        self._told: set[tuple[str, str]] = set()
        #: Decision rows that were named, and batches that are too many, likewise.
        self._wrong: set[tuple[str, str]] = set()
        #: Everything of the systems is looked at, so that something can be too many.
        self._all = scope.sidecar is None and scope.since is None

    def everything(self, tables: Tables, jobs: int, progress: Callable[[Progress], None]) -> None:
        """All steps."""
        from app.control.store import migrations  # a tenth of what those import who only check batches

        with self.store.answering():
            migrations.require_current(self.store, str(self._means.settings.directory))
        self._objects.check()
        tables.require_system(self._scope.system)
        where, bound = self._scope.where
        signed = " OR ".join(f"{name} IS NOT NULL" for name in SIGNED)
        if self._means.verifier is None and tables.count_batches(f"({where}) AND ({signed})", **bound):
            raise UsageError("there are signed batches: name their log with --lineage-trust-config")

        with workers(self._means, jobs) as checked_of:
            progress(Progress("listing objects"))
            if self._all:  # before the rows are read: what comes meanwhile is not too many
                self.scratch.add_listed(leftovers.listing(self._objects, self._scope.system, self._settled))
            progress(Progress("counting decision rows"))
            self.scratch.add_spans(tables.spans())
            number = tables.count_batches(where, **bound)
            for checked in checked_of(self._tasks(tables)):
                self._take(checked)
                progress(Progress("batches", self.report.batches, number))

        progress(Progress("order of batches"))
        self._tell(chain.follow(self.scratch, whole=self._scope.since is None))
        if self._scope == Scope():
            elsewhere = {one.pair for one in self._held if one.kind == "missing"}
            self._tell(leftovers.orphans(tables, self.scratch, elsewhere))
            self._tell(values.orphans(tables, {batch for batch, *_ in self.scratch.orphans()}))
        self._tell_held()
        progress(Progress("trust states"))
        self._states(tables)
        progress(Progress("statements"))
        self._links(tables)
        if self._scope == Scope():
            progress(Progress("releases and what is published"))
            domain = self._means.settings.domain
            self._tell(Kept(tables, self._objects, domain, self._means.said).check())
            self._tell(named.check(tables, self._objects))
            self._tell(published.metadata(tables, self._means.settings.root_metadata.read_bytes()))
            self._tell(published.documents(tables, self._objects, domain))
            self._tell(leftovers.signed(tables, self._objects))
            self._seals(tables, progress)
        whose = self._scope.system, self._scope.sidecar
        breaks = tables.breaks(*whose)
        if self._scope.since is None:
            self._tell(repeats.check(tables, self.scratch, whose, self._wrong, breaks))
        self._tell(leftovers.refused(breaks, self._objects))
        self._tell(leftovers.judged(breaks, tables))
        self.report.breaks = [leftovers.break_document(row) for row in breaks]
        if self._means.log is not None:
            shown = partial(_shown, progress)
            for read, finding in self._means.log.check(tables, self._objects, shown):
                self.report.log = read
                self._tell([finding] if finding is not None else [])
        if self._all:
            progress(Progress("objects that no row names"))
            self.report.unused = 0
            with closing(self._means.opened()) as reader:
                self._tell(leftovers.unused(self.scratch, self._objects, self.store, reader.signers))

    def _tasks(self, tables: Tables) -> Iterator[list[Task]]:
        where, bound = self._scope.where
        chunk: list[Task] = []
        for row in tables.batches(where, **bound):
            chunk.append(Task(row, *self.scratch.span(row["id"])))
            if len(chunk) == _CHUNK:
                yield chunk
                chunk = []
        yield chunk

    def _take(self, checked: Checked) -> None:
        self.report.batches += 1
        self.report.unsigned += not checked.signed
        self.report.entries += checked.entries
        self.report.decisions += checked.decisions
        self.scratch.add(checked)
        self._tell(checked.findings)

    def _states(self, tables: Tables) -> None:
        if self._all:
            parts = (key.split("/", 2) for key in self.scratch.listed("states/"))
            self.scratch.add_states((system, f"sha256:{name.removesuffix('.json')}", None) for _, system, name in parts)
        if self._scope == Scope():
            rows = tables.rows(TrustState, "system, digest")
            self.scratch.add_states((row["system"], row["digest"], None) for row in rows)
        for finding in leftovers.states(self.scratch, self._objects):
            self.report.states += 1
            if finding is not None:
                self._tell([finding])

    def _links(self, tables: Tables) -> None:
        where, bound = self._scope.where
        if self._means.verifier is None and any(True for _ in tables.links(where, **bound)):
            raise UsageError("there are signed statements: name their log with --lineage-trust-config")
        with closing(self._means.opened()) as reader:
            links = Links(self._objects, tables, reader.signers, self._means.seals)
            self._tell(links.check(where, whole=self._scope.since is None, **bound))
            if self._all:
                self._tell(links.approvals(self._scope.system))
                self._tell(links.unused(self.scratch.listed("links/"), self.store))
        self.report.links = links.count

    def _seals(self, tables: Tables, progress: Callable[[Progress], None]) -> None:
        """Last of what looks at rows: of one that another step has named, no more than that is said."""
        progress(Progress("rows that nobody signs"))
        for finding in seals.check(tables, self._means.seals, self.scratch, self._told):
            self.report.sealed += 1
            self._tell([finding] if finding is not None else [])

    def _tell(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if finding.pair is not None and len(self._held) < _MAX_HELD:
                self._held.append(finding)
                continue
            if finding.table not in (None, *UNSEALED):
                self._told.add((str(finding.table), str(finding.row)))
            self._say(finding)

    def _say(self, finding: Finding) -> None:
        if finding.kind != "unused":
            self.report.findings += 1
        elif self.report.unused is not None:
            self.report.unused += 1
        if finding.table == "decision" or finding.kind in ("surplus", "fork"):
            self._wrong.add((str(finding.table), str(finding.row)))
        self._found(finding)

    def _tell_held(self) -> None:
        """What is missing here and too many there was moved: one finding, not two."""
        held, self._held = self._held, []
        times = Counter((one.pair, one.kind) for one in held)
        told = set()
        for one in held:
            pair = one.pair
            if pair is not None and times[pair, "missing"] == times[pair, "surplus"] == 1:
                if pair in told:
                    continue
                told.add(pair)
                missing, surplus = sorted((other for other in held if other.pair == pair), key=lambda other: other.kind)
                one = moved(pair, missing, surplus)
            elif pair is not None and pair[0] == "batch":
                one = replace(one, kind="changed")
            self._say(one)


def _shown(progress: Callable[[Progress], None], done: int, of: int) -> None:
    progress(Progress("entries of the log", done, of))


def _require_there(settings: Settings) -> None:
    """Opening makes what is not there; nothing is to be made here."""
    database = settings.database_url
    places = [Path(database.database or "")] if database.get_backend_name() == "sqlite" else []
    if settings.objects_url.startswith("file://"):
        places.append(Path(settings.objects_url.removeprefix("file://")))
    for missing in (place for place in places if not place.exists()):
        raise PlacetError(f"cannot read {missing}: there is no such file or directory")
