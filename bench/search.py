"""What a search takes as the store grows: 95th percentiles of questions on PostgreSQL, the machine's own beside them.

Records are lines of a governed OPA with other ids, subjects, resources, amounts and times, ten batches a second of a
week. Calls are made in process, without HTTP. The rival is PostgreSQL itself, asked for the newest 50 rows of the
same table by their time.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import evidence, result
from bench.control import postgresql

AIMS = {
    "indexed filters: aim of 20 ms / p95": 1.0,
    "histogram and facets: aim of 150 ms / p95": 1.0,
    "one word or path: aim of 200 ms / p95": 1.0,
}
SIZES, QUICK = (10_000, 100_000, 1_000_000), (10_000, 30_000)
_BATCH = 1000
_BEGIN = datetime(2026, 11, 19, tzinfo=UTC)
_SPAN = timedelta(days=7)
_STAMP = re.compile(rb'"timestamp":"[^"]*"')


def varied(lines: list[bytes], first: int, total: int, chance: random.Random) -> bytes:
    """One batch, of records `first` and on of `total`; one record in 50,000 has a word of its own."""
    made = []
    for number in range(first, min(first + _BATCH, total)):
        line = lines[number % len(lines)]
        at = _BEGIN + _SPAN * (number / total)
        line = _STAMP.sub(b'"timestamp":"%s"' % at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode(), line)
        line = line.replace(b"example.org/support", b"example.org/job-%d" % chance.randrange(5000))
        line = line.replace(b'"id":"p-1"', b'"id":"p-%d"' % chance.randrange(100_000))
        line = line.replace(b'"amount":40', b'"amount":%d' % chance.randrange(50_000))
        if number % 50_000 == 777:
            line = line.replace(b'"currency":"EUR"', b'"currency":"needle%d"' % number)
        if number % 7 == 0:
            line = line.replace(b'"allow":true', b'"allow":false').replace(
                b'"reasons":[]', b'"reasons":[{"code":"policy.denied","message":"no"}]'
            )
        made.append(line)
    return b"\n".join(made) + b"\n"


def p95(work: Callable[[int], Any], times: int) -> float:
    """Milliseconds."""
    taken = []
    for number in range(times):
        begun = time.perf_counter()
        work(number)
        taken.append((time.perf_counter() - begun) * 1000)
    return sorted(taken)[min(len(taken) - 1, int(len(taken) * 0.95))]


def ask(plane: Any, times: int) -> dict[str, float]:
    """The 95th percentiles of each kind of question."""
    from sqlalchemy import text
    from sqlmodel import Session

    from app.control import search, summary
    from app.control.decision_filter import Filter

    def one(session: Session, **asked: Any) -> Any:
        return search.search(session, plane.objects, Filter(**asked), 50, None, patience=60)

    def whole(session: Session, wanted: Filter) -> None:
        summary.histogram(session, wanted, "hour")
        summary.facets(session, wanted, "hour")

    def deep(session: Session, number: int) -> Any:
        middle = _BEGIN + _SPAN * ((number + 1) / (times + 2))
        return one(session, system="payments", until=middle)

    week = Filter(system="payments", since=_BEGIN, until=_BEGIN + _SPAN)
    newest = text("SELECT * FROM decision ORDER BY time_ns DESC, id DESC LIMIT 50")
    kinds: dict[str, Callable[[Session, int], Any]] = {
        "PostgreSQL itself": lambda session, _: session.execute(newest).all(),
        "denials of a system": lambda session, _: one(session, system="payments", outcome="deny"),
        "a subject": lambda session, n: one(session, subject_id=f"spiffe://example.org/job-{n}"),
        "a resource": lambda session, n: one(session, resource_id=f"p-{n}"),
        "a page in the middle": deep,
        "a reason": lambda session, _: one(session, reason="policy.denied"),
        "histogram and facets": lambda session, _: whole(session, week),
        "a rare word": lambda session, n: one(session, text="needle777" if n % 2 else f"nothing{n}"),
        "a JSON path": lambda session, n: one(session, where=(("input.context.amount", str(n * 17)),)),
    }
    found = {}
    for name, work in kinds.items():
        with plane.store.read() as session:
            found[name] = p95(lambda number, work=work, session=session: work(session, number), times)  # type: ignore[misc]
    return found


def measure(opa: Path, sizes: tuple[int, ...], times: int) -> tuple[dict[str, float], dict[str, float]]:
    """Figures for each size, and the aims against the largest."""
    from app.control.installation import initialise
    from app.control.plane import Plane
    from app.control.raw_records import Span
    from app.control.records import ingest
    from app.control.settings import Settings
    from app.control.store import System

    def refuse(*_: Any) -> Any:
        raise AssertionError

    figures: dict[str, float] = {}
    chance = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="placet-bench-") as name, postgresql() as url:
        directory = Path(name)
        lines = evidence.records(opa, 75, directory / "opa")
        made = initialise(directory / "control", directory / "root-key.pem", url)
        plane = Plane.open(Settings.load(made.directory), refuse)
        with plane.store.write() as session:
            session.add(System(name="payments", identities=[], horizon_seconds=60))
        stored = byte = 0
        largest: dict[str, float] = {}
        for size in sizes:
            begun = time.perf_counter()
            for first in range(stored, size, _BATCH):
                body = varied(lines, first, sizes[-1], chance)
                ingest(plane, Span("payments", "one", "i", "f", byte, byte + len(body)), body)
                byte += len(body)
            result.say(f"{size} records: {(size - stored) / (time.perf_counter() - begun):,.0f}/s stored")
            stored = size
            _analyse(plane)
            largest = ask(plane, times)
            for question, value in largest.items():
                figures[f"{size:,} records, {question}: ms p95"] = round(value, 2)
                result.say(f"  {question}: {value:.1f} ms")
        plane.close()
    indexed = max(largest[name] for name in ("denials of a system", "a subject", "a resource", "a page in the middle"))
    ratios = {
        "indexed filters: aim of 20 ms / p95": 20 / indexed,
        "histogram and facets: aim of 150 ms / p95": 150 / largest["histogram and facets"],
        "one word or path: aim of 200 ms / p95": 200 / max(largest["a rare word"], largest["a JSON path"]),
        "indexed filters: p95 / that of PostgreSQL itself": indexed / largest["PostgreSQL itself"],
    }
    return figures, {name: round(value, 3) for name, value in ratios.items()}


def _analyse(plane: Any) -> None:
    from sqlalchemy import text

    with plane.store.write() as session:
        session.execute(text("ANALYZE decision"))
        session.execute(text("ANALYZE batch"))


def main() -> None:
    """Run the benchmark and print its report."""
    parser = result.options(__doc__)
    parser.add_argument("--records", type=int, help="store so many at last, for example 5000000")
    options = parser.parse_args()
    sizes = QUICK if options.quick else SIZES
    if options.records:
        sizes = (*(size for size in SIZES if size < options.records), options.records)
    figures, ratios = measure(result.opa_of(options), sizes, 20 if options.quick else 50)
    result.show("search", figures, ratios, AIMS, options.output)


if __name__ == "__main__":
    main()
