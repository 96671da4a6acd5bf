"""Records are acknowledged only when they are durable; repeats are harmless; poison never loses a batch."""

import gzip
import json
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from app.control import raw_records, record_lines
from app.control.store import Batch, Decision
from app.core.batch_form import MAX_ENTRIES

from .conftest import record


@pytest.fixture(autouse=True)
def payments(api):
    api.create_system("payments")


def listed(api, **query):
    answer = api.get("/api/v1/decisions", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_a_batch_is_stored_searchable_and_whole(api):
    body = record("d1") + record("d2", allow=False)
    answer = api.ship(body)
    assert (answer.status_code, answer.json()) == (200, {"acknowledged": len(body)})
    first, second = sorted(listed(api), key=lambda item: item["decision_id"])
    assert (first["outcome"], second["outcome"], second["reasons"]) == ("allow", "deny", ["policy.denied"])
    assert first["time"] == "2026-01-31T12:00:00.123456789Z"
    assert first["subject"] == {"issuer": "https://tokens.example.org", "id": "job-17"}
    assert (first["action"], first["resource"]) == ("refund", {"type": "invoice", "id": "in-7"})
    whole = api.get("/api/v1/decisions/d2").json()
    assert whole["record"] == json.loads(record("d2", allow=False))
    assert whole["raw"].encode() == record("d2", allow=False).rstrip(b"\n")
    assert (whole["number"], whole["copies"]) == (1, 1)


def test_gzip_bodies_are_the_same_bytes(api):
    body = record("d1") * 3
    answer = api.ship(gzip.compress(body), last=len(body), headers={"Content-Encoding": "gzip"})
    assert answer.json() == {"acknowledged": len(body)}


def test_a_repeat_gets_the_same_answer_and_stores_nothing(api, plane):
    body = record("d1")
    assert api.ship(body).json() == api.ship(body).json()
    assert len(listed(api)) == 1
    more = api.ship(record("d2"), first=len(body))
    assert more.status_code == 200
    assert api.ship(body).json() == {"acknowledged": len(body)}, "also after later batches"
    with plane.store.read() as session:
        assert len(session.exec(select(Batch)).all()) == 2


def test_gaps_overlaps_and_forks_are_told_where_to_go_on(api):
    body = record("d1")
    api.ship(body)
    end = len(body)
    for answer in (
        api.ship(record("d2"), first=end + 1),
        api.ship(record("d2") * 2, first=1),
        api.ship(record("xx")),  # the same place, other bytes
        api.ship(body + record("d2")),  # the same place, more bytes
    ):
        assert answer.status_code == 409
        assert answer.json()["expected"] == end
        assert answer.json()["reason"] == "record.conflict"
    assert len(listed(api)) == 1
    assert api.ship(record("d2"), first=end).status_code == 200


def test_another_instance_file_or_sidecar_begins_at_zero(api):
    body = record("d1")
    for place in ({"instance": "i2"}, {"file": "f2"}, {"sidecar": "two"}, {}):
        assert api.ship(body, **place).status_code == 200
    found = listed(api)
    assert len(found) == 4
    assert api.get("/api/v1/decisions/d1").json()["copies"] == 4


@pytest.mark.parametrize(
    ("body", "last", "status"),
    [(b"", 0, 422), (b"x", 1, 422), (b"x\n", 3, 422), (b"x\n", 1, 422), (record()[:-5], None, 422)],
)
def test_batches_are_whole_lines_of_the_stated_length(api, body, last, status):
    assert api.ship(body, last=last).status_code == status


@pytest.mark.parametrize("place", [{"instance": ".."}, {"file": "a/b"}, {"file": ""}, {"sidecar": "A"}, {"first": -1}])
def test_names_that_are_no_names_are_refused(api, place):
    assert api.ship(b"x\n", **place).status_code == 422


def test_an_unknown_system_keeps_nothing(api):
    assert api.ship(record(), system="nobody").status_code == 404


def test_bodies_are_bounded_before_and_after_decompression(api):
    big = 16 * 1024 * 1024 + 1
    assert api.ship(b"\n" * big).status_code == 413
    bomb = zlib.compressobj(9, wbits=31)
    packed = bomb.compress(b"\n" * (200 * 1024 * 1024)) + bomb.flush()
    assert len(packed) < 1024 * 1024
    assert api.ship(packed, last=200 * 1024 * 1024, headers={"Content-Encoding": "gzip"}).status_code == 413


def test_the_lines_of_a_batch_are_bounded_as_those_of_a_signed_one(api, plane):
    """5 million lines of `{}` are few bytes to receive, and hundreds of megabytes to keep."""
    assert api.ship(b"{}\n" * MAX_ENTRIES).status_code == 200
    more = api.ship(b"{}\n" * (MAX_ENTRIES + 1), file="f2")
    assert (more.status_code, more.json()["detail"]) == (413, "a batch has at most 1000 lines, not 1001")
    with plane.store.read() as session:
        assert [one.file for one in session.exec(select(Batch))] == ["f1"]


@pytest.mark.parametrize(
    "broken", [b"not gzip", gzip.compress(b"x\n", mtime=0)[:-4], gzip.compress(b"x\n", mtime=0) + b"more"]
)
def test_broken_gzip_is_refused(api, broken):
    assert api.ship(broken, last=2, headers={"Content-Encoding": "gzip"}).status_code == 422


def test_an_unknown_encoding_is_refused(api):
    assert api.ship(b"x\n", headers={"Content-Encoding": "br"}).status_code == 422


def odd(**members):
    return record(**{"decision_id": "odd", **members})


POISON = {
    "NUL": odd(input={"resource": {"id": "a\0b"}}),
    "lone surrogate": odd(input={"resource": {"id": "\ud800"}}),
    "1e400": odd().replace(b'"in-7"', b"1e400"),
    "numeric id": odd(input={"resource": {"id": 123456789012345678901234567890}}),
    "5000 digits": odd().replace(b'"in-7"', b"9" * 5000),
    "id that is an object": odd(input={"resource": {"id": {"a": ["b"]}}}),
    "long subject": odd(result={"allow": False, "subject": {"issuer": "i" * 9000, "id": "s" * 9000}}),
    "long text": odd(input={"context": {"a": "x" * 100_000}}),
    "text that grows when lower-cased": odd(input={"context": {"a": "\u0130" * 9000}}),
    "time in year 9999": odd(timestamp="9999-12-31T23:59:59Z"),
    "time before 1970": odd(timestamp="0001-01-01T00:00:00Z"),
    "no time": odd(timestamp=None),
    "time is a number": odd(timestamp=10**30),
    "time of an odd zone": odd(timestamp="2026-01-31T12:00:00+25:99"),
    "input is a list": odd(input=[1, 2]),
    "result is a text": odd(result="yes"),
    "reasons are objects of objects": odd(result={"allow": False, "reasons": [{"code": {"a": 1}}, 7, None]}),
    "many reasons": odd(result={"allow": False, "reasons": [{"code": f"c{n}"} for n in range(10_000)]}),
    "id is missing": odd(decision_id=None),
    "id is a path": odd(decision_id="../../x"),
    "id is huge": odd(decision_id="d" * 5000),
    "deep nesting": odd().replace(b'"in-7"', b"[" * 900 + b"]" * 900),
    "bundles are numbers": odd(result={"allow": False, "bundles": {"policy": 7, "library": []}}),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_poison_loses_nothing(api, poison):
    body = record("before") + poison + record("after")
    answer = api.ship(body)
    assert (answer.status_code, answer.json()) == (200, {"acknowledged": len(body)}), answer.text
    found = {item["decision_id"]: item for item in listed(api)}
    assert {"before", "after"} < set(found)
    (identifier,) = set(found) - {"before", "after"}
    whole = api.get(f"/api/v1/decisions/{identifier}")
    assert whole.status_code == 200
    assert whole.json()["raw"].encode() == poison.rstrip(b"\n")


@pytest.mark.parametrize(
    "line", [b'{"type": "openpol', b'{"decision_id": NaN, "path": "placet/decision"}', b'{"\xff\xfe": 1}', b"{" * 5000]
)
def test_what_may_have_been_a_record_is_shown_as_unreadable(api, line):
    body = record("before") + line + b"\n" + record("after")
    assert api.ship(body).status_code == 200
    (unreadable,) = listed(api, outcome="unreadable")
    whole = api.get(f"/api/v1/decisions/{unreadable['decision_id']}").json()
    assert whole["record"] is None
    assert whole["raw"] == line.decode("utf-8", "backslashreplace")
    assert len(listed(api)) == 3


def test_lines_that_are_no_decisions_are_counted_and_kept(api, plane):
    noise = [
        b"2026/01/31 12:00:00 http: TLS handshake error from 127.0.0.1:4711: EOF",
        b'{"level":"error","msg":"Bundle load failed","time":"2026-01-31T12:00:00Z"}',
        b"",
        b"[1, 2]",
    ]
    body = b"".join(line + b"\n" for line in noise) + record("d1")
    assert api.ship(body).status_code == 200
    assert [item["decision_id"] for item in listed(api)] == ["d1"]
    with plane.store.read() as session:
        (batch,) = session.exec(select(Batch)).all()
    assert batch.other_lines == len(noise)
    assert raw_records.entries(plane.objects, batch) == body[:-1].split(b"\n")


@pytest.mark.parametrize("path", ["placet/decision", "placet/decisi%6Fn", "%70lacet/decision", "placet_state/lease"])
def test_a_request_cannot_hide_its_decision_by_how_it_spells_the_path(api, path):
    """OPA decodes the path before it asks who may, and records it as it came."""
    assert api.ship(record("d1", path=path)).status_code == 200
    assert [item["decision_id"] for item in listed(api)] == ["d1"]


@pytest.mark.parametrize("depth", [2_000, 9_000])
def test_a_request_cannot_hide_its_decision_by_deep_nesting(api, depth):
    """OPA takes JSON of 10,000 levels, answers and records it; Python's parser stops long before."""
    deep = b'[{"a":' * depth + b'"]}\\""' + b"}]" * depth
    line = record("deep", allow=True).replace(b'"in-7"', deep)
    assert api.ship(line + record("after")).status_code == 200
    found = {item["decision_id"]: item for item in listed(api)}
    assert (found["deep"]["outcome"], found["deep"]["subject"]["id"]) == ("allow", "job-17")
    whole = api.get("/api/v1/decisions/deep").json()
    assert (whole["record"], whole["raw"].encode()) == (None, line.rstrip(b"\n"))


def test_a_torn_deep_record_is_unreadable():
    line = record("deep").replace(b'"in-7"', b"[" * 5000 + b"]" * 5000)
    for torn in (line[:-3], line.replace(b"]]", b"]}", 1), line.rstrip() + b"}", line.rstrip() + line.rstrip()):
        (found,) = record_lines.read_lines([torn.strip()])
        assert found.outcome == "unreadable"


@pytest.mark.parametrize(
    ("members", "outcome", "reasons"),
    [
        ({"result": {"allow": True}}, "allow", []),
        ({"result": {"allow": False, "reasons": [{"code": "x.y"}]}}, "deny", ["x.y"]),
        ({"result": {"allow": "true"}}, "deny", ["decision.malformed"]),
        ({"result": {"allow": 1}}, "deny", ["decision.malformed"]),
        ({"result": None}, "deny", ["decision.malformed"]),
        ({"result": True}, "deny", ["decision.malformed"]),
        ({"error": {"code": "eval_conflict_error"}}, "deny", ["evaluation.error"]),
    ],
)
def test_only_a_whole_true_is_an_allow(members, outcome, reasons):
    (line,) = record_lines.read_lines([record("d", **members)[:-1]])
    assert (line.outcome, line.reasons) == (outcome, tuple(reasons))


def test_a_missing_result_is_a_denial():
    document = json.loads(record())
    del document["result"]
    (line,) = record_lines.read_lines([json.dumps(document).encode()])
    assert (line.outcome, line.reasons) == ("deny", ("decision.undefined",))


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
names = ("decision_id", "input", "result", "timestamp", "error", "labels")


@given(st.dictionaries(st.sampled_from(names), junk))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_record_becomes_columns_that_fit(members):
    line = json.dumps({"path": "placet/decision", **members}).encode()
    for found in record_lines.read_lines([line]):
        if found is None:
            continue
        for value in (*found, *found.reasons):
            if isinstance(value, str):
                assert len(value) <= record_lines.MAX_COLUMN
                assert "\0" not in value
                value.encode()


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_lines(body):
    entries = body.split(b"\n")
    assert len(list(record_lines.read_lines(entries))) == len(entries)


def test_many_at_once_store_each_batch_once(api):
    body = b"".join(record(f"d{number}") for number in range(200))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.ship(body), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(listed(api, limit=200)) == 200


def test_counts_are_for_prometheus(api, plane):
    api.ship(
        record("d1") + record("d2", allow=False) + record("d3", result={"allow": False, "reasons": [{"code": "u"}]})
    )
    text = api.get("/metrics").text
    assert 'placet_records_ingested_total{outcome="allow",system="payments"} 1.0' in text
    assert 'placet_records_ingested_total{outcome="deny",system="payments"} 2.0' in text
    assert 'placet_denials_total{reason="policy.denied"} 1.0' in text
    assert 'placet_denials_total{reason="policy"} 1.0' in text
    assert 'route="/api/v1/systems/{system}/sidecars/{sidecar}/records"' in text


def test_no_row_without_its_object(api, plane, monkeypatch):
    """The object comes first: when the transaction then fails, nothing is acknowledged and a repeat succeeds."""
    from sqlalchemy.exc import OperationalError

    from app.control import records

    def down(*_):
        raise OperationalError("INSERT", {}, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr(records, "insert", down)
    answer = api.ship(record())
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    monkeypatch.undo()
    with plane.store.read() as session:
        assert session.exec(select(Decision)).all() == []
    assert api.ship(record()).status_code == 200


def test_a_full_or_lost_object_store_acknowledges_nothing(api, plane, monkeypatch):
    import obstore
    from obstore.exceptions import GenericError

    def full(*_):
        raise GenericError("No space left on device (os error 28)")

    monkeypatch.setattr(obstore, "put", full)
    answer = api.ship(record())
    assert answer.status_code == 503
    assert "No space left" in answer.json()["detail"]
    assert listed(api) == []
