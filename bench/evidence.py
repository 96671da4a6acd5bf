"""What evidence costs: cutting, committing, checking and storing records; and what a proof and its verification take.

Rivals in the same run: a raw COPY of the same bytes into one column of PostgreSQL, and one INSERT of them into SQLite.
With PostgreSQL two sidecars send at once, and two connections copy. fsck is asked of what came in. Rates are of a
machine; beside them stands the CPU time, of a record, and of batches of one record and of a hundred.
The control plane makes all its checks (signature, log, sequence, root, counts) on batches that a real Sigstore signed;
calls are made in process, without HTTP. Records are those of a governed OPA, with other decision ids.

`--all` goes on with what has benchmarks of its own: `provable.py`, `replay.py`, and `search.py` as its store grows to
5,000,000 records; one report has all aims.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from app.core.bundle import digest_of
from bench import cpu_time, questions, result, stand
from bench.control import BUNDLE, Control, controlled, postgresql
from bench.raw_stores import Signed, copied, inserted, together
from bench.result import Report
from bench.world import World

AIMS = {
    "ingest with PostgreSQL: rate ours/raw COPY": 0.8,
    "ingest with PostgreSQL: records per s / 15000": 1.0,
    "agent: records per s / 20000": 1.0,
    "stored: aim of 900 bytes / bytes a record": 1.0,
    "proof: aim of 10 ms / verification": 1.0,
    "fsck: aim of 20 s / 1,000,000 records in one process": 1.0,
}

SYSTEM, SIDECARS = "payments", ("one", "two")
SIDECAR = SIDECARS[0]
_BATCH = 1000
_WHOSE = {"own": "control plane", "database": "PostgreSQL", "beside": "its readers"}
#: Records of a small batch, and how many of each: a sidecar with few decisions sends one a second.
_SMALL, _TIMES = (1, 100), 20


def cut(lines: Sequence[bytes], most: int = _BATCH) -> Iterator[tuple[int, Sequence[bytes]]]:
    """The first entry's number and the entries of each batch, as large as batches may be."""
    from app.core.batch import MAX_BYTES

    first = size = 0
    for number, line in enumerate(lines):
        if number - first == most or size + len(line) + 1 > MAX_BYTES:
            yield first, lines[first:number]
            first, size = number, 0
        size += len(line) + 1
    yield first, lines[first:]


def records(binary: Path, count: int, directory: Path) -> list[bytes]:
    """Lines of a governed OPA, of three ways to ask, each with an id of its own and later than the one before."""
    with stand.running(binary, stand.composed(*stand.example("payments")), directory) as opa:
        world = World(int(time.time()))
        opa.write(world.state(lease_seconds=3000))
        for row in ("identity", "execution", "warrant"):
            for asked in questions.ROWS[row](world, questions.target(0))[:1]:
                for _ in range(25):
                    opa.decide(asked)
        lines = [line for line in opa.stderr.read_bytes().split(b"\n") if b'"Decision Log"' in line]
    read = [json.loads(line) for line in lines]
    ids, times = ([one[name].encode() for one in read] for name in ("decision_id", "timestamp"))
    policy, begun = read[0]["result"]["bundles"]["policy"], datetime.now(UTC)
    lines = [line.replace(policy.encode(), digest_of(BUNDLE).encode()) for line in lines]
    made = []
    for number in range(count):
        at = number % len(lines)
        later = f"{begun + timedelta(milliseconds=number):%Y-%m-%dT%H:%M:%S.%f000Z}".encode()
        made.append(lines[at].replace(ids[at], b"%s-%09d" % (ids[at][:26], number)).replace(times[at], later))
    return made


def agent(lines: Sequence[bytes]) -> float:
    """Records a second that one core cuts, salts, hashes and describes, each batch compressed as it is sent."""
    from app.core import merkle
    from app.core.batch import BatchStatement

    begun = time.process_time()
    for first, entries in cut(lines):
        leaves = merkle.leaf_hashes(secrets.token_bytes(merkle.SALT * len(entries)), entries)
        BatchStatement.describe(
            sidecar="spiffe://example.org/sidecar/payments/one", instance="i", file="f", first_entry=first,
            first_byte=0, entries=entries, leaves=leaves, previous="sha256:" + "0" * 64 if first else None,
            opa="sha256:" + "0" * 64, closed_at=datetime.now(UTC),
        ).statement()  # fmt: skip
        gzip.compress(b"\n".join(entries) + b"\n", 1)
    return len(lines) / (time.process_time() - begun)


def signed(
    control: Control, lines: Sequence[bytes], instance: str, sidecar: str = SIDECAR, most: int = _BATCH
) -> list[Signed]:
    """Batches that follow each other, signed at the same time as an agent does."""
    from app.core import merkle
    from app.core.batch import BatchStatement, payload_digest

    session = control.session(SYSTEM, sidecar)
    statements, parts, previous, byte = [], [], None, 0
    for first, entries in cut(lines, most):
        salts = secrets.token_bytes(merkle.SALT * len(entries))
        batch = BatchStatement.describe(
            sidecar=session.identity, instance=instance, file="000001.log", first_entry=first, first_byte=byte,
            entries=entries, leaves=merkle.leaf_hashes(salts, entries),
            previous=previous, opa="sha256:" + "4" * 64, closed_at=datetime.now(UTC),
        )  # fmt: skip
        statements.append(batch.statement())
        previous, byte = payload_digest(statements[-1]), batch.last_byte
        parts.append((entries, salts))
    with ThreadPoolExecutor(16) as pool:
        evidence = list(pool.map(session.sign, statements))
    made = []
    for (entries, salts), bundle in zip(parts, evidence, strict=True):
        body = {
            "records": base64.b64encode(gzip.compress(b"\n".join(entries) + b"\n", 1)).decode(),
            "salts": base64.b64encode(salts).decode(),
            "evidence": bundle.decode(),
        }
        made.append(Signed(sidecar, entries, json.dumps(body).encode()))
    return made


def batches_of(control: Control, lines: Sequence[bytes], instance: str, sidecars: Sequence[str]) -> list[Signed]:
    """The lines as batches of these sidecars, the same number of each."""
    size = -(-len(lines) // len(sidecars))
    parts = [lines[at : at + size] for at in range(0, len(lines), size)]
    return [one for part, name in zip(parts, sidecars, strict=True) for one in signed(control, part, instance, name)]


def ingest(control: Control, batches: Sequence[Signed]) -> float:
    """Records a second that the control plane takes."""
    from app.control.batches import take

    def all_of(some: Sequence[Signed]) -> None:
        for batch in some:
            take(control.plane, SYSTEM, batch.sidecar, batch.body)

    return together(all_of, batches)


def small(control: Control, url: str, lines: Sequence[bytes]) -> dict[str, float]:
    """Milliseconds of CPU that a small batch takes."""
    from app.control.batches import take

    figures = {}
    for most in _SMALL:
        made = signed(control, lines[: most * _TIMES], "i", f"small-{most}", most)
        each = cpu_time.each(url, lambda one: take(control.plane, SYSTEM, one.sidecar, one.body), made)
        for whose, seconds in each._asdict().items():
            figures[f"ingest with PostgreSQL: ms of CPU a batch of {most}, {_WHOSE[whose]}"] = seconds * 1000
    return figures


def checked(control: Control, number: int) -> float:
    """Seconds that fsck would take for 1,000,000 records, all its checks on, in one process."""
    from app.control import fsck
    from cli.server_verifiers import batch_verifier

    verifier = partial(batch_verifier, control.sigstore.trust_config)
    begun = time.perf_counter()
    found: list[fsck.Finding] = []
    report = fsck.check(fsck.Means(control.plane.settings, (control.url,), verifier), found.append)
    taken = time.perf_counter() - begun
    if report.decisions != number or {one.kind for one in found} > {"missing"}:  # the trust state was never archived
        raise SystemExit(f"fsck of {report.decisions} of {number} records finds {found[:3]}")
    return taken / number * 1_000_000


def proof(control: Control, batches: Sequence[Signed]) -> dict[str, float]:
    """A proof of a record in the middle: its size, and milliseconds to make and to verify it."""
    from app.control.proofs import export
    from app.core import proof as verifier
    from app.core.proof_form import Proof
    from app.core.verification_policy import VerificationPolicy

    line = batches[0].entries[len(batches[0].entries) // 2]
    name = json.loads(line)["decision_id"]
    exported = _median(20, lambda: export(control.plane, name))
    file = export(control.plane, name)
    policies = {
        "sidecars": VerificationPolicy(identities=[control.signer(SYSTEM, SIDECAR)]),
        "releases": VerificationPolicy(identities=[control.developer]),
        "lineage": control.trust,
        "trust": control.trust,
    }
    verified = _median(20, lambda: verifier.verify(Proof.read(file), **policies))
    return {"proof: bytes": len(file), "proof: ms to export": exported, "proof: ms to verify": verified}


def _median(times: int, work: Any) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def main() -> None:
    """Run the benchmark and print its report."""
    parser = result.options(__doc__)
    parser.add_argument("--all", action="store_true", help="decision to provable, replay and search, too")
    parser.add_argument("--plot", type=Path, help="with --all: draw the growth of the search into this SVG file")
    options = parser.parse_args()
    opa, aims = result.opa_of(options), dict(AIMS)
    figures, ratios = measure(opa, *((1, 10) if options.quick else (3, 40)))
    if options.all:
        for known, report in parts(opa, options.quick, options.plot):
            aims |= known
            figures |= report[0]
            ratios |= report[1]
    result.show("evidence", figures, ratios, aims, options.output)


def parts(opa: Path, quick: bool, plot: Path | None) -> Iterator[tuple[dict[str, float], Report]]:
    """The aims and the report of each benchmark that goes with this one."""
    from bench import provable, replay, search  # search makes its store of this one's records

    yield provable.AIMS, provable.report(opa, quick)
    yield replay.AIMS, replay.report(opa, quick)
    sizes, times = (search.QUICK, 5) if quick else (search.SIZES, 20)
    yield search.AIMS, search.report(opa, sizes, times, None, plot)


def measure(opa: Path, rounds: int, batches: int) -> Report:
    """Figures as medians over the rounds, and their ratios."""
    runs: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        result.say(f"{name}: {value:,.1f}")
        runs.setdefault(name, []).append(value)

    def rate(name: str, url: str | None, number: int, work: Callable[[], float]) -> None:
        before = cpu_time.spent(url) if url else None
        note(f"{name} records per s", work())
        if url and before:
            for whose, seconds in cpu_time.since(before, url)._asdict().items():
                note(f"{name} us of CPU a record, {_WHOSE[whose]}", seconds / number * 1_000_000)

    with tempfile.TemporaryDirectory(prefix="placet-bench-") as name:
        directory = Path(name)
        lines = records(opa, rounds * batches * _BATCH, directory / "opa")
        note("record: bytes", statistics.mean(map(len, lines)))
        for turn in range(rounds):
            part = lines[turn * batches * _BATCH : (turn + 1) * batches * _BATCH]
            note("agent: records per s", agent(part))
            for kind in ("SQLite", "PostgreSQL"):
                with contextlib.ExitStack() as stack:
                    url = stack.enter_context(postgresql()) if kind == "PostgreSQL" else None
                    control = stack.enter_context(controlled(directory / f"{kind}-{turn}", url, opa))
                    made = batches_of(control, part, f"i{turn}", SIDECARS if url else SIDECARS[:1])
                    raw = partial(inserted, directory / f"raw-{turn}.db") if url is None else partial(copied, url)
                    rate(f"ingest with {kind}: raw", url, len(part), partial(raw, made))
                    rate(f"ingest with {kind}:", url, len(part), partial(ingest, control, made))
                    note(f"stored with {kind}: bytes a record", control.stored_bytes(url) / len(part))
                    if url is not None:
                        note("fsck: s of 1,000,000 records", checked(control, len(part)))
                        for figure, value in small(control, url, part).items():
                            note(figure, value)
                    if kind == "SQLite":
                        for figure, value in proof(control, made).items():
                            note(figure, value)
    figures = {name: round(statistics.median(values), 3) for name, values in runs.items()}
    ratios = {
        f"ingest with {kind}: rate ours/raw {raw}": statistics.median(
            ours / rival
            for ours, rival in zip(
                runs[f"ingest with {kind}: records per s"], runs[f"ingest with {kind}: raw records per s"], strict=True
            )
        )
        for kind, raw in (("PostgreSQL", "COPY"), ("SQLite", "INSERT"))
    }
    ratios |= {
        "ingest with PostgreSQL: records per s / 15000": figures["ingest with PostgreSQL: records per s"] / 15_000,
        "agent: records per s / 20000": figures["agent: records per s"] / 20_000,
        "stored: aim of 900 bytes / bytes a record": 900 / figures["stored with PostgreSQL: bytes a record"],
        "proof: aim of 10 ms / verification": 10 / figures["proof: ms to verify"],
        "fsck: aim of 20 s / 1,000,000 records in one process": 20 / figures["fsck: s of 1,000,000 records"],
    }
    return figures, {name: round(value, 3) for name, value in ratios.items()}


if __name__ == "__main__":
    main()
