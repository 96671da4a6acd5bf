"""The feed of raw records: every record of a filter once, byte for byte, in bounded pages."""

import gzip
import json

import pytest
from sqlmodel import select

from app.control import raw_records, record_feed
from app.control.raw_records import Span
from app.control.store import Batch

from .conftest import record
from .test_records import POISON

PATH = "/api/v1/decisions/records"


def ship(api, number, lines, system="payments", sidecar="one"):
    answer = api.ship(b"".join(lines), system=system, sidecar=sidecar, file=f"f{number}")
    assert answer.status_code == 200, answer.text
    return lines


def at(second):
    return f"2026-01-31T12:00:{second:02}Z"


@pytest.fixture
def shipped(api):
    """Records of two sidecars that alternate, and of another system; newest last."""
    api.create_system("payments")
    api.create_system("ledger")
    lines = [record(f"p{number}", allow=number % 2 == 0, at=at(number)) for number in range(40)]
    ship(api, 0, lines[0::2])
    ship(api, 1, [b"a message of OPA's\n", *lines[1::2]], sidecar="two")
    ship(api, 0, [record("l0", at=at(50))], system="ledger")
    return lines


def read(api, **query):
    """The first line of a page, and the records."""
    answer = api.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    head, *lines = answer.content.split(b"\n")
    page = json.loads(head)
    assert lines.pop() == b""
    assert len(lines) == len(page["items"])
    return page, lines


def every(api, **query):
    """The records of all pages, and how many pages there were."""
    found, pages, cursor = [], 0, None
    while True:
        page, lines = read(api, **query, **({"cursor": cursor} if cursor else {}))
        found += zip(page["items"], lines, strict=True)
        pages, cursor = pages + 1, page["next"]
        if cursor is None:
            return found, pages


def test_all_records_come_once_newest_first_as_opa_wrote_them(api, shipped):
    found, pages = every(api, system="payments")
    assert [line + b"\n" for _, line in found] == shipped[::-1]
    assert [item for item, _ in found] == [{"decision_id": f"p{n}", "system": "payments"} for n in range(39, -1, -1)]
    assert pages == 1
    for limit in (1, 7, 40):
        again, pages = every(api, system="payments", limit=limit)
        assert (again, pages) == (found, -(-40 // limit))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"system": "ledger"}, ["l0"]),
        ({"outcome": "deny", "since": at(35), "system": "payments"}, ["p39", "p37", "p35"]),
        ({"until": at(2)}, ["p1", "p0"]),
        ({"since": at(38)}, ["l0", "p39", "p38"]),
        ({"text": "p3", "system": "payments"}, ["p3"]),
    ],
)
def test_it_takes_the_filters_of_the_search(api, shipped, query, expected):
    found, _ = every(api, **query)
    assert [item["decision_id"] for item, _ in found] == expected
    assert [json.loads(line)["decision_id"] for _, line in found] == expected


def test_a_page_has_no_more_bytes_than_it_may(api, shipped, monkeypatch):
    whole, _ = every(api, system="payments")
    for size in (1, 3000, 10_000):
        monkeypatch.setattr(record_feed, "MAX_BYTES", size)
        found, pages = every(api, system="payments")
        assert found == whole
        assert pages >= 40 * len(shipped[0]) // max(size, len(shipped[0]))
        _, lines = read(api, system="payments")
        assert len(lines) == 1 or sum(map(len, lines)) <= size


def test_what_no_parser_can_read_comes_as_it_is(api):
    api.create_system("payments")
    lines = ship(api, 0, [one if one.endswith(b"\n") else one + b"\n" for one in POISON.values()])
    found, _ = every(api, system="payments")
    assert {line + b"\n" for _, line in found} <= set(lines)
    assert len(found) > len(lines) / 2


def test_it_is_compressed_for_those_who_take_that(api, shipped):
    plain = api.get(PATH, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with api.client.stream(
        "GET", PATH, headers={"Authorization": f"Bearer {api.token}", "Accept-Encoding": "gzip"}
    ) as answer:
        raw = b"".join(answer.iter_raw())
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 5


@pytest.mark.unsealed
def test_an_erased_record_and_one_that_is_gone_are_named(api, plane, shipped):
    with plane.store.write() as session:
        row = session.exec(select(Batch).where(Batch.sidecar == "one", Batch.system == "payments")).one()
        span = Span(row.system, row.sidecar, row.instance, row.file, row.first, row.last)
        row.object = raw_records.without(plane.objects, span, row, None, [0, 19]).object
        session.add(row)
    found, _ = every(api, system="payments", until=at(1))
    assert found == [({"decision_id": "p0", "system": "payments", "missing": "record.erased"}, b"")]
    found, _ = every(api, system="payments")
    assert [(item["decision_id"], line) for item, line in found if "missing" in item] == [("p38", b""), ("p0", b"")]

    (plane.settings.directory / "objects" / row.object).unlink()
    found, _ = every(api, system="payments")
    assert len(found) == 40
    missing = {item["decision_id"]: item["missing"] for item, _ in found if "missing" in item}
    assert missing == dict.fromkeys((f"p{number}" for number in range(0, 40, 2)), record_feed._GONE)


@pytest.mark.unsealed
def test_an_erasure_at_the_same_moment_is_seen(api, plane, shipped, monkeypatch):
    """The object goes when its row names another one: who has read the row before asks it again."""
    real = record_feed._batches

    def then_erased(session, ids):
        rows = real(session, ids)
        monkeypatch.setattr(record_feed, "_batches", real)
        with plane.store.write() as other:
            row = other.exec(select(Batch).where(Batch.sidecar == "one", Batch.system == "payments")).one()
            span = Span(row.system, row.sidecar, row.instance, row.file, row.first, row.last)
            before, row.object = row.object, raw_records.without(plane.objects, span, row, None, [0]).object
            other.add(row)
        (plane.settings.directory / "objects" / before).unlink()
        return rows

    monkeypatch.setattr(record_feed, "_batches", then_erased)
    found, _ = every(api, system="payments")
    assert [item["decision_id"] for item, _ in found if "missing" in item] == ["p0"]


def test_changed_records_are_not_given_out(api, plane, shipped):
    with plane.store.read() as session:
        key = session.exec(select(Batch.object).where(Batch.sidecar == "two")).one()
    path = plane.settings.directory / "objects" / key
    body = path.read_bytes()
    for changed in (body[:-10], b"x" + body[1:], body[:-5] + b"\0\0\0\0\0"):
        path.write_bytes(changed)
        answer = api.get(PATH, params={"system": "payments"})
        assert (answer.status_code, "were changed" in answer.json()["detail"]) == (500, True)


def test_who_may_read_them(api, shipped):
    assert api.with_token("system:read").get(PATH).status_code == 403
    bound = api.with_token("decision:read", system="payments")
    assert len(every(bound)[0]) == 40
    assert bound.get(PATH, params={"system": "ledger"}).status_code == 403
    for query in ({"limit": 0}, {"limit": 1001}, {"cursor": "x"}, {"since": "never"}):
        assert api.get(PATH, params=query).status_code == 422, query
