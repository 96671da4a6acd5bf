"""Every kind of line that OPA was seen to write, and lines that only look like one."""

import json
import random

import pytest

from app.sidecar import records
from app.sidecar.records import RecordFile
from tests.soon import soon

ID = "55b0a8f2-4a61-4d6e-9c0e-000000000001"
RECORD = {
    "bundles": {"placet": {"revision": "r1"}},
    "decision_id": "6e2d0000-0000-4000-8000-000000000001",
    "input": {"action": {"name": "read"}},
    "labels": {"id": ID, "version": "1.22.2"},
    "level": "info",
    "masked": ["/input"],
    "metrics": {"timer_server_handler_ns": 211000},
    "msg": "Decision Log",
    "nd_builtin_cache": {},
    "path": "placet/decision",
    "result": {"allow": False},
    "time": "2026-11-25T17:42:20Z",
    "timestamp": "2026-11-25T17:42:20.564937178Z",
    "type": "openpolicyagent.org/decision_logs",
}


def line(**members):
    """One record as OPA writes it: members in order, no spaces."""
    return json.dumps({**RECORD, **members}, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def raw_input(text):
    return line(input="@").replace(b'"@"', text)


@pytest.fixture
def stream(tmp_path):
    path = tmp_path / "00000001.log"
    path.write_bytes(b"")
    file = RecordFile(path)
    file.expect(ID)

    def wrote(*lines):
        with path.open("ab") as opened:
            opened.write(b"".join(lines))
        return file.read()

    wrote.path = path
    return wrote


# ---- records -----------------------------------------------------------------------------------------------


def without(*names):
    document = {name: value for name, value in RECORD.items() if name not in names}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


RECORDS = {
    "usual": line(),
    "without input": without("input", "masked"),
    "with an error in place of a result": without("result")[:-2] + b',"error":"eval_conflict_error"}\n',
    "of another path": line(path="system/bundles"),
    "HTML escapes": raw_input(b'{"x":"\\u003cscript\\u003e\\u0026"}'),
    "a number beyond a double": raw_input(b'{"n":1e400}'),
    "a number of thirty digits": raw_input(b'{"n":123456789012345678901234567890}'),
    "a number of five thousand digits": raw_input(b'{"n":' + b"1" * 5000 + b"}"),
    "a number with an endless exponent": raw_input(b'{"n":1e' + b"9" * 300 + b"}"),
    "a tiny number": raw_input(b"-1e-99999"),
    "both at once": raw_input(b"[" + b"1" * 5000 + b",1e400]"),
    "a lone surrogate": raw_input(b'"\\ud800"'),
    "surrogates in the wrong order": raw_input(b'["\\udc00\\ud800"]'),
    "a replacement character": raw_input('"\ufffd"'.encode()),
    "line separators": raw_input('"\u2028\u2029\u0085\x7f"'.encode()),
    "an escaped line feed": raw_input(b'"a\\nb\\r\\u0000"'),
    "nested 900 deep": raw_input(b"[" * 900 + b"]" * 900),
    "nested 1,500 deep": raw_input(b"[" * 1500 + b"]" * 1500),
    "nested 9,990 deep, as deep as OPA goes": raw_input(b'{"a":' * 9990 + b"1" + b"}" * 9990),
    "a megabyte": raw_input(b'"' + b"x" * 1_000_000 + b'"'),
    "an input that is itself a record": raw_input(line().strip()),
    "an input that is the text of a record": raw_input(json.dumps(line().decode()).encode()),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record(stream, name):
    tally = stream(RECORDS[name])
    assert (tally.decisions, tally.noise, tally.unexpected) == (1, 0, None)
    assert tally.end == len(RECORDS[name])


def test_records_are_counted_once_each_however_they_are_read(stream):
    everything = b"".join(list(RECORDS.values()) * 3)
    chance = random.Random(7)
    at = 0
    while at < len(everything):
        step = chance.choice([1, 50, 5_000, 300_000])
        tally = stream(everything[at : at + step])
        at += step
    assert (tally.decisions, tally.unexpected, tally.end) == (3 * len(RECORDS), None, len(everything))


def test_a_record_is_counted_when_its_line_is_whole(stream):
    whole = line()
    assert stream(whole[:-1]).decisions == 0
    assert stream(whole[-1:]).decisions == 1
    assert stream(whole[:100]).decisions == 1
    assert stream(whole[100:]).decisions == 2


def test_many_records_in_a_moment(stream):
    with soon():
        assert stream(line() * 20_000).decisions == 20_000


def test_before_the_id_is_known_records_count_too(stream):
    file = RecordFile(stream.path)
    stream.path.write_bytes(line())
    assert file.read().decisions == 1


# ---- noise: any client can cause it ---------------------------------------------------------------------------

AT = b"2026/11/25 17:42:20 "
PANIC = (
    AT + b"http: panic serving 127.0.0.1:40312: runtime error: slice bounds out of range [:4] with capacity 0\n"
    b"goroutine 72 [running]:\n"
    b"net/http.(*conn).serve.func1()\n"
    b"\tnet/http/server.go:1947 +0xbe\n"
    b"panic({0x16a5b20?, 0xc000346018?})\n"
    b"\truntime/panic.go:792 +0x132\n"
    b"github.com/open-policy-agent/opa/v1/util.ReadMaybeCompressedBody(0xc0003c8140)\n"
    b"\tgithub.com/open-policy-agent/opa/v1/util/read_gzip_body.go:63 +0x4a9\n"
    b"\n"
    b"created by net/http.(*Server).Serve in goroutine 20\n"
    b"\tnet/http/server.go:3454 +0x485\n"
    b"...additional frames elided...\n"
)
NOISE = {
    "an answer after the time limit of its reader": AT
    + b"http: superfluous response.WriteHeader call from github.com/open-policy-agent/opa/v1/runtime.(*recorder)"
    b".WriteHeader (logging.go:289)\n",
    "a semicolon in the query": AT
    + b"http: URL query contains semicolon, which is no longer a supported separator; parts of the query may be "
    b"stripped when parsed; see golang.org/issue/17777\n",
    "plain HTTP": AT + b"http: TLS handshake error from 127.0.0.1:4: client sent an HTTP request to an HTTPS server\n",
    "a port scan": AT + b"http: TLS handshake error from 127.0.0.1:40312: EOF\n",
    "a foreign CA": AT + b'http: TLS handshake error from [::1]:40312: remote error: tls: "unknown {certificate}"\n',
    "no file descriptors": AT
    + b"http: Accept error: accept tcp 127.0.0.1:8181: too many open files; retrying in 5ms\n",
    "the agent's own bundle server": AT
    + b'Unsolicited response received on idle HTTP channel starting with "x"; err=<nil>\n',
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_means_nothing(stream, name):
    tally = stream(line(), NOISE[name], line())
    assert (tally.decisions, tally.noise, tally.panics, tally.unexpected) == (2, 1, 0, None)


@pytest.mark.parametrize("peer", [b"127.0.0.1:40312", b"@", b""])
def test_a_panic_and_its_trace_mean_nothing(stream, peer):
    tally = stream(line(), PANIC.replace(b"127.0.0.1:40312", peer), line(), PANIC, NOISE["a port scan"], line())
    assert (tally.decisions, tally.noise, tally.panics, tally.unexpected) == (3, 3, 2, None)


def test_a_trace_ends_where_something_else_begins(stream):
    assert stream(PANIC, line()).unexpected is None
    assert stream(b"net/http.(*conn).serve.func1()\n").unexpected.startswith("net/http")


def test_a_trace_ends_after_64_kib(stream):
    tally = stream(PANIC, b"x" * 1000 + b"\n", b"y" * 64 * 1024 + b"\n", b"not a trace any more\n")
    assert tally.unexpected == "not a trace any more"


def test_a_panic_cannot_hide_a_failed_mask(stream):
    lost = b'{"level":"error","msg":"Log event masking failed: conflict","plugin":"decision_logs"}\n'
    assert "masking failed" in stream(PANIC, lost).unexpected


# ---- OPA's own lines ---------------------------------------------------------------------------------------


def own(**members):
    return json.dumps({"level": "error", "time": "2026-11-25T17:42:20Z", **members}, sort_keys=True).encode() + b"\n"


OWN = {
    "download": own(
        msg="Bundle load failed: server replied with Internal Server Error", name="placet", plugin="bundle"
    ),
    "activation": own(msg="Bundle activation failed: 1 error occurred: x", name="placet", plugin="bundle"),
    "root": own(
        level="warning", msg="OPA running with uid or gid 0. Running OPA with root privileges is not recommended."
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_opas_own_lines_say_nothing_about_records(stream, name):
    tally = stream(OWN[name], line())
    assert (tally.decisions, tally.unexpected) == (1, None)


# ---- what ends the lease -----------------------------------------------------------------------------------

UNEXPECTED = {
    "a mask failed": own(msg="Log event masking failed: eval_conflict_error", plugin="decision_logs"),
    "a drop rule failed": own(msg="Log drop decision failed: x", plugin="decision_logs"),
    "a mask was skipped": own(msg="mask rule skipped: x", plugin="decision_logs"),
    "OPA's words from another plugin": own(msg="Bundle load failed: x", plugin="status"),
    "OPA's words at another level": own(msg="Bundle load failed: x", plugin="bundle", level="info"),
    "an error of another kind": own(msg="something new", plugin="bundle"),
    "a record by another OPA": line(labels={"id": "55b0a8f2-4a61-4d6e-9c0e-000000000002"}),
    "a record without labels": without("labels"),
    "a record whose labels are text": line(labels="x"),
    "a record of another message": line(msg="Decision Log?"),
    "a record of another type": line(type="openpolicyagent.org/decision_logs2"),
    "a record cut short": line()[:-20] + b"\n",
    "a record cut short, and the next on its line": line()[:100] + line(),
    "two records on one line": line()[:-1] + line(),
    "a record after junk": b"x" + line(),
    "a deep record by another OPA": raw_input(b"[" * 1500 + b"]" * 1500).replace(ID.encode(), b"forged"),
    "a deep record cut short": raw_input(b"[" * 1500)[:-60] + b"\n",
    "zeros": bytes(4096) + b"\n",
    "text": b"fatal error: all goroutines are asleep - deadlock!\n",
    "a date and something else": AT + b"open /tmp/x: no space left on device\n",
    "noise within a line": b"x " + NOISE["a port scan"],
    "an empty line": b"\n",
    "an empty object": b"{}\n",
    "a list": b"[]\n",
    "a goroutine without a panic": b"goroutine 72 [running]:\n",
    "not UTF-8": b'{"type":"\xff"}\n',
}


@pytest.mark.parametrize("name", UNEXPECTED)
def test_unexpected_lines_end_the_lease(stream, name):
    tally = stream(UNEXPECTED[name])
    assert tally.unexpected is not None
    assert tally.decisions == 0
    first = tally.unexpected
    tally = stream(line(), b"another\n")  # and it stays so, for as long as this OPA runs
    assert (tally.unexpected, tally.decisions) == (first, 1)


def test_a_line_without_end_is_unexpected(stream, monkeypatch):
    monkeypatch.setattr(records, "MAX_LINE", 100_000)
    assert stream(line()[:-1] + b" " * 100_001).unexpected


def test_forged_text_in_a_request_stays_text(stream):
    """What a client writes reaches the file only within a JSON string."""
    forged = json.dumps({"x": line().decode() + PANIC.decode() + "\r\n" + line().decode()}).encode()
    tally = stream(raw_input(forged))
    assert (tally.decisions, tally.noise, tally.unexpected) == (1, 0, None)
