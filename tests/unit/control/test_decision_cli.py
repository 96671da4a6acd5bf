"""`placet decision list|export`, `placet search` and `placet forward` against a control plane that listens."""

import csv
import io
import json
import sys
import threading
import time
from hashlib import sha256

import pytest
import uvicorn
from pyarrow import parquet

from app.control import records
from app.control.api import tail_events
from app.control.raw_records import Span
from app.control.store import LineageBreak, System
from app.core import files
from app.core.errors import PlacetError
from cli import decision_tail
from cli.main import main

from .conftest import record

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def address(app, installed, monkeypatch):
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    monkeypatch.setenv("PLACET_SERVER", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("PLACET_TOKEN", installed.admin_token.read_text().strip())
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def run(address, capsys, monkeypatch):
    """Runs `placet …` in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["placet", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


LINES = [
    record(
        f"d{number}",
        allow=number % 2 == 0,
        at=f"2026-01-31T12:00:{number:02}.000000001Z",
        input={
            "action": {"name": "=HYPERLINK(1)" if number == 1 else "refund"},
            "resource": {"type": "invoice", "id": f"in-{number}"},
            "context": {"amount": number},
        },
    )
    for number in range(5)
]


@pytest.fixture
def stored(address, plane):
    with plane.store.write() as session:
        session.add(System(name="payments", identities=[], horizon_seconds=60))
    ship(plane, b"".join(LINES), 0)


def ship(plane, body, first):
    records.ingest(plane, Span("payments", "one", "i", "f", first, first + len(body)), body)


def listed(out):
    return [json.loads(line)["decision_id"] for line in out.splitlines()]


def test_the_list_takes_every_filter(run, stored):
    for options, ids in (
        ((), ["d4", "d3", "d2", "d1", "d0"]),
        (("--limit", 2), ["d4", "d3"]),
        (("--where", "input.context.amount=3"), ["d3"]),
        (("--where", "input.context.amount=3", "--where", "result.allow=true"), []),
        (("--where", "timestamp=2026-01-31T12:00:03.000000001Z"), ["d3"]),
        (("--where", "path=placet/decision", "--limit", 1), ["d4"]),
        (("--text", "in-2"), ["d2"]),
        (("--action", "refund", "--outcome", "deny"), ["d3"]),
        (("--resource", "in-4"), ["d4"]),
        (("--resource-type", "invoice", "--reason", "policy.denied"), ["d3", "d1"]),
        (("--subject", "job-17", "--issuer", "https://tokens.example.org", "--sidecar", "one", "--limit", 1), ["d4"]),
        (("--since", "1h"), []),
    ):
        code, out, _ = run("decision", "list", "--output", "json", *options)
        assert (code, listed(out)) == (0, ids), options
    code, out, err = run("decision", "list", "--where", "amount")
    assert (code, out) == (2, "")
    assert "is not a path and its value" in err


def test_an_empty_text_is_not_taken_for_none(run, stored):
    """A variable that is not set would show, delete, give or send what is of all systems."""
    for command in (
        ("decision", "list", "--action", ""),
        ("decision", "list", "--follow", "--text="),
        ("decision", "list", "--where", ""),
        ("decision", "export", "-o", "x", "--system", ""),
        ("decision", "replay", "--subject", ""),
        ("search", "save", "x", "--saved", ""),
        ("search", "delete", "x", "--system", ""),
        ("token", "create", "x", "--scope", "record:write", "--system", ""),
        ("forward", "add", "x", "--to", "file:///x", "--system="),
    ):
        option = command[-1] or command[-2]
        said = f"placet: {option.rstrip('=')} is given an empty text: say what it is to be, or leave it out\n"
        assert run(*command) == (2, "", said)


def test_a_system_that_there_is_not_is_told(run, stored, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for command in (
        ("decision", "list"),
        ("decision", "list", "--follow"),
        ("decision", "export", "-o", "x"),
        ("decision", "export", "--records", "-o", "x"),
        ("decision", "replay"),
        ("search", "save", "x", "--outcome", "deny"),
        ("lineage", "executions"),
        ("lineage", "entries"),
        ("lineage", "breaks"),
        ("hold", "list"),
        ("record", "list"),
    ):
        assert run(*command, "--system", "nobody") == (1, "", "placet: there is no system nobody\n"), command
    assert not (tmp_path / "x").exists()


def test_a_sidecar_that_nobody_knows_is_evicted_with_a_word(run, stored):
    code, out, err = run("sidecar", "evict", "payments", "nobody", "--reason", "x", "--output", "json")
    assert (code, json.loads(out)["sidecar"]) == (0, "nobody")
    assert err.startswith("payments never had a sidecar nobody: it is evicted before it comes.")
    assert run("sidecar", "invite", "payments", "nobody")[0] == 3, "and it stays so"


def test_searches_are_saved_run_and_deleted(run, stored):
    assert run("search", "save", "odd", "--outcome", "deny", "--where", "input.context.amount=3")[0] == 0
    assert listed(run("decision", "list", "--saved", "odd", "--output", "json")[1]) == ["d3"]
    found = json.loads(run("search", "list", "--output", "json")[1])
    assert [(one["name"], one["filter"]) for one in found] == [
        ("odd", {"outcome": "deny", "where": ["input.context.amount=3"]})
    ]
    assert json.loads(run("search", "delete", "odd", "--output", "json")[1]) == {"deleted": "odd"}
    assert run("decision", "list", "--saved", "odd")[0] == 1
    assert run("search", "save", "x", "--saved", "odd")[0] == 2


def test_exports_have_all_that_the_list_has(run, stored, tmp_path):
    names = ["d4", "d3", "d2", "d1", "d0"]
    assert run("decision", "export", "-o", tmp_path / "a.jsonl")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["decision_id"] for row in rows] == names
    assert rows[0]["subject_id"] == "job-17"

    assert run("decision", "export", "--format", "csv", "-o", tmp_path / "a.csv")[0] == 0
    table = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert [row["decision_id"] for row in table] == names
    assert table[3]["action"] == "'=HYPERLINK(1)"  # no spreadsheet computes it
    assert table[3]["reasons"] == "policy.denied"

    assert run("decision", "export", "--format", "parquet", "-o", tmp_path / "a.parquet", "--outcome", "deny")[0] == 0
    found = parquet.read_table(tmp_path / "a.parquet")
    assert found.column("decision_id").to_pylist() == ["d3", "d1"]
    assert found.column("reasons").to_pylist() == [["policy.denied"], ["policy.denied"]]
    assert found.column("time").cast("int64").to_pylist()[0] == 1769860803000000001

    code, out, _ = run("decision", "export", "--records", "--limit", 3, "-o", tmp_path / "raw", "--output", "json")
    assert (code, json.loads(out)["decisions"]) == (0, 3)
    assert (tmp_path / "raw").read_bytes() == b"".join(reversed(LINES[2:]))
    assert run("decision", "export", "--records", "--format", "csv", "-o", tmp_path / "b")[0] == 2


def test_an_export_that_fails_leaves_the_file_as_it_was(run, stored, tmp_path):
    target = tmp_path / "a.jsonl"
    target.write_text("before")
    code, _, err = run("decision", "export", "-o", target, "--system", "payments", "--outcome", "maybe")
    assert (code, target.read_text(), list(tmp_path.glob(".a*"))) == (2, "before", [])
    assert "the outcome must be one of" in err
    code, _, err = run("decision", "export", "-o", tmp_path / "none" / "a")
    assert (code, "cannot write" in err) == (1, True)
    with pytest.raises(PlacetError, match="No space left"):
        full_disk(target)
    assert target.read_text() == "before"


def full_disk(target):
    with files.replacing(target) as file:
        file.write(b"half")
        raise OSError(28, "No space left on device")


def test_following_sees_what_arrives_over_broken_streams(run, stored, plane, monkeypatch, address):
    monkeypatch.setattr(tail_events, "INTERVAL", 0.05)
    monkeypatch.setattr(tail_events, "LIFETIME", 0.3)  # each stream ends soon
    monkeypatch.setattr(decision_tail, "_PAUSE", 0.3)
    place = sum(map(len, LINES))

    def later():
        nonlocal place
        while not tail_events._open:
            time.sleep(0.05)
        for number in range(5, 9):
            time.sleep(0.4)
            line = record(f"d{number}", allow=False, at=f"2026-01-31T12:00:{number:02}Z")
            ship(plane, line, place)
            place += len(line)

    thread = threading.Thread(target=later)
    thread.start()
    code, out, _ = run("decision", "list", "--follow", "--limit", 4, "--reason", "policy.denied", "--output", "json")
    thread.join()
    assert (code, listed(out)) == (0, ["d5", "d6", "d7", "d8"])


def test_so_many_may_look_on(run, stored, monkeypatch):
    monkeypatch.setattr(tail_events, "MAX_STREAMS", 0)
    code, _, err = run("decision", "list", "--follow")
    assert (code, "already look on" in err) == (1, True)


def test_sinks_are_added_listed_and_removed(run, stored, tmp_path):
    assert run("forward", "add", "archive", "--to", f"file://{tmp_path}/archive", "--from-the-first")[0] == 0
    deadline = time.monotonic() + 30
    while True:  # by the thread of the control plane itself
        (one,) = json.loads(run("forward", "list", "--output", "json")[1])
        if one["delivered_records"] == 5:
            break
        assert time.monotonic() < deadline, one
        time.sleep(0.2)
    assert len(list((tmp_path / "archive").rglob("*.jsonl.gz"))) == 1
    assert json.loads(run("forward", "remove", "archive", "--output", "json")[1]) == {"removed": "archive"}
    assert json.loads(run("forward", "list", "--output", "json")[1]) == []
    code, _, err = run("forward", "add", "x", "--to", "https://x")
    assert (code, "a target is one of" in err) == (2, True)


def test_the_batch_that_a_break_keeps_is_fetched(run, plane, stored, tmp_path):
    raw, out = b'{"salts": ""}', tmp_path / "refused.json"
    with plane.store.write() as session:
        key = f"quarantine/payments/one/{sha256(raw).hexdigest()}.json"
        plane.objects.put(key, raw)
        who = {"system": "payments", "sidecar": "one", "kind": "batch.root", "detail": "d", "stops": True}
        session.add(LineageBreak(**who, body_sha256=sha256(raw).hexdigest(), object=key))
    code, _, said = run("lineage", "batch", 1, "-o", out)
    assert (code, out.read_bytes(), out.stat().st_mode & 0o077) == (0, raw, 0), said
    code, _, said = run("lineage", "batch", 2, "-o", out)
    assert (code, said) == (1, "placet: there is no break 2, or none that keeps its batch\n")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("=1", "is not a path and its value"),
        ("labels.list[1]=1", "names a place in an array: leave it out"),
        ("input.context.a[0]=x", "names a place in an array: leave it out"),
        ("result.reasons[*].code=x", "names a place in an array: leave it out"),
        ("input.context.amount", "is not a path and its value"),
    ],
)
def test_a_path_that_can_find_nothing_is_refused(run, stored, path, why):
    code, _, said = run("decision", "list", "--where", path)
    assert (code, why in said, said.count("\n")) == (2, True, 1), said


def test_a_name_with_a_slash_is_one_line(run, stored):
    code, _, said = run("search", "save", "bad/name", "--outcome", "deny")
    assert (code, said) == (2, "placet: 'bad/name' is no name: it has a slash\n")
