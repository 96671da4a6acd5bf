"""What a search takes as one store grows from 10,000 to 5,000,000 records, on PostgreSQL.

Each question is asked many times, with other values where it has any, in this process, without HTTP. CPU time is that
of this process and of the database's, one after the other: what an answer takes where a core is free. Wall time is
that of the machine as it was. `--store DIR` keeps the store and what was measured, and goes on where it was.
"""

from __future__ import annotations

import contextlib
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.control.plane import Plane
from app.control.settings import Settings
from bench import filled_store, growth_plot, result
from bench.filled_store import Plan
from bench.result import Report
from bench.search_questions import CONTENT, FILTERS, SUMMARIES, Question, Questions

#: Milliseconds, 95th percentile, by the kind of question.
AIM_MS = {FILTERS: 20.0, SUMMARIES: 150.0, CONTENT: 200.0}
AIMS = {
    **{f"{kind}: aim of {aim:g} ms / p95 of the median question": 1.0 for kind, aim in AIM_MS.items()},
    **{f"{kind}: aim of {aim:g} ms / p95 of the slowest question": 1.0 for kind, aim in AIM_MS.items()},
}
SIZES, QUICK = (10_000, 100_000, 1_000_000, 5_000_000), (10_000,)
_BATCH = 1000
#: After which a question is asked no more, once it was asked so often at least.
_SECONDS, _LEAST = 8.0, 5


@dataclass(frozen=True)
class Taken:
    """What a question took, in milliseconds."""

    kind: str
    name: str
    cpu_p50: float
    cpu_p95: float
    wall_p50: float
    wall_p95: float


def ask(plane: Plane, question: Question, times: int) -> Taken:
    """Ask a question so often, or for `_SECONDS`, and once before that, which does not count."""
    cpu, wall = [], []
    with plane.store.read() as session:
        backend = int(session.execute(text("SELECT pg_backend_pid()")).scalar_one())
        ends = time.monotonic() + _SECONDS
        for number in range(times + 1):
            if number > _LEAST and time.monotonic() > ends:
                break
            begun, used = time.perf_counter(), time.process_time() + _used(backend)
            question.ask(session, number)
            session.rollback()
            if number:
                cpu.append((time.process_time() + _used(backend) - used) * 1000)
                wall.append((time.perf_counter() - begun) * 1000)
    return Taken(question.kind, question.name, *_percentiles(cpu), *_percentiles(wall))


def _used(process: int) -> float:
    """Seconds that a process was on a CPU, in the nanoseconds that Linux counts."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def _percentiles(taken: list[float]) -> tuple[float, float]:
    return round(statistics.median(taken), 3), round(sorted(taken)[min(len(taken) - 1, int(len(taken) * 0.95))], 3)


def measure(directory: Path, opa: Path, sizes: tuple[int, ...], times: int) -> dict[int, list[Taken]]:
    """What each question took at each size, of which some may have been measured before."""

    def refuse(*_: Any) -> Any:
        raise AssertionError

    kept = directory / "measured.json"
    found: dict[int, list[Taken]] = {}
    if kept.exists():
        found = {int(size): [Taken(**one) for one in taken] for size, taken in json.loads(kept.read_text()).items()}
    plan = Plan.of(directory, max(SIZES[-1], *sizes), _BATCH)
    with filled_store.server(directory) as url:
        filled_store.prepare(directory, url, opa, plan)
        many = plan.many(directory)
        for size in sizes:
            known = {(one.kind, one.name) for one in found.setdefault(size, [])}
            if filled_store.stored(url) > size:
                if known:
                    continue
                raise SystemExit(f"{directory} holds more than {size} records already: measure that in another store")
            begun = time.perf_counter()
            filled_store.fill(directory, url, plan, size)
            result.say(f"{size:,} records, after {time.perf_counter() - begun:.0f} s")
            plane = Plane.open(Settings.load(directory / "control"), refuse)
            gc.collect()
            gc.freeze()  # as a server does at its start
            for question in Questions(plane, many, size).all():
                if (question.kind, question.name) in known:
                    continue
                found[size].append(taken := ask(plane, question, times))
                result.say(f"  {taken.kind}: {taken.name}: {taken.cpu_p95:.1f} ms of CPU, {taken.wall_p50:.1f} ms")
                kept.write_text(json.dumps({key: [asdict(one) for one in value] for key, value in found.items()}))
            plane.close()
    return found


def ratios(largest: list[Taken]) -> dict[str, float]:
    """The aims against what was measured of the most records."""
    of = {kind: sorted(one.cpu_p95 for one in largest if one.kind == kind) for kind in AIM_MS}
    return {
        name: round(AIM_MS[kind] / value, 3)
        for kind, values in of.items()
        for name, value in (
            (f"{kind}: aim of {AIM_MS[kind]:g} ms / p95 of the median question", statistics.median(values)),
            (f"{kind}: aim of {AIM_MS[kind]:g} ms / p95 of the slowest question", values[-1]),
        )
    }


@contextlib.contextmanager
def _store(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="placet-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def main() -> None:
    """Run the benchmark and print its report."""
    parser = result.options(__doc__)
    parser.add_argument("--records", type=int, default=SIZES[2], help="store so many at last (default: 1,000,000)")
    parser.add_argument("--times", type=int, default=20, help="ask each question so often (default: 20)")
    parser.add_argument("--store", type=Path, help="keep the store in this directory, or go on with the one there")
    parser.add_argument("--plot", type=Path, help="draw the growth into this SVG file")
    options = parser.parse_args()
    sizes = QUICK if options.quick else (*(size for size in SIZES if size < options.records), options.records)
    times = 5 if options.quick else options.times
    found = report(result.opa_of(options), sizes, times, options.store, options.plot)
    result.show("search", *found, AIMS, options.output)


def report(opa: Path, sizes: tuple[int, ...], times: int, store: Path | None, plot: Path | None) -> Report:
    """The figures and their ratios; the growth is drawn into `plot`."""
    with _store(store) as directory:
        found = measure(directory, opa, sizes, times)
    if plot:
        lines = [(size, one.kind, one.name, one.cpu_p95) for size, taken in found.items() for one in taken]
        plot.write_text(growth_plot.svg(lines, AIM_MS))
    figures = {
        f"{size:,} records, {one.kind}: {one.name}: ms {what} p95": value
        for size, taken in found.items()
        for one in taken
        for what, value in (("of CPU", one.cpu_p95), ("wall", one.wall_p95))
    }
    return figures, ratios(found[max(found)])


if __name__ == "__main__":
    main()
