"""Search finds what it should, in pages that nothing shifts."""

import pytest

from .conftest import record


@pytest.fixture
def shipped(api):
    api.create_system("payments")
    api.create_system("ledger")
    payments = b"".join(
        record(f"p{number}", allow=number % 2 == 0, at=f"2026-01-31T12:00:{number:02}.000000001Z")
        for number in range(10)
    )
    ledger = record(
        "l0", at="2026-02-01T00:00:00Z", input={"action": {"name": "post_100%"}, "resource": {"id": "ÄRGER"}}
    )
    assert api.ship(payments).status_code == 200
    assert api.ship(ledger, system="ledger").status_code == 200
    return api


def ids(api, **query):
    answer = api.get("/api/v1/decisions", params=query)
    assert answer.status_code == 200, answer.text
    return [item["decision_id"] for item in answer.json()["items"]]


def test_newest_first(shipped):
    assert ids(shipped) == ["l0", *(f"p{number}" for number in range(9, -1, -1))]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"system": "ledger"}, ["l0"]),
        ({"outcome": "deny"}, ["p9", "p7", "p5", "p3", "p1"]),
        ({"system": "payments", "outcome": "allow", "since": "2026-01-31T12:00:04Z"}, ["p8", "p6", "p4"]),
        ({"until": "2026-01-31T12:00:02Z"}, ["p1", "p0"]),
        ({"since": "2026-01-31T13:00:08+01:00", "until": "2026-01-31T12:00:09"}, ["p8"]),
        ({"text": "POLICY.denied", "since": "2026-01-31T12:00:07Z"}, ["p9", "p7"]),
        ({"text": "job-17 ", "until": "2026-01-31T12:00:01Z"}, ["p0"]),
        ({"text": "ärger"}, ["l0"]),
        ({"text": "post_100%"}, ["l0"]),
        ({"text": "_%_"}, []),
        ({"text": "p3"}, ["p3"]),
        ({"text": "'DROP TABLE decision;--"}, []),
        ({"text": "a\0b"}, []),
        ({"execution": "a\0b"}, []),
    ],
)
def test_filters(shipped, query, expected):
    assert ids(shipped, **query) == expected


def test_no_decision_has_such_an_id(shipped):
    for name in ("a%00b", "%ED%A0%80", "x" * 5000):
        for what in ("", "/proof"):
            assert shipped.get(f"/api/v1/decisions/{name}{what}").status_code == 404


def test_the_identity_is_not_searchable(shipped):
    assert ids(shipped, text="abababab") == []


@pytest.mark.parametrize(
    "query",
    [
        {"outcome": "maybe"},
        {"since": "yesterday"},
        {"until": "2026-13-01"},
        {"limit": "0"},
        {"limit": "201"},
        {"cursor": "x"},
        {"cursor": "LTEuMQ"},
        {"text": "x" * 201},
        {"text": "%"},
        {"text": "refund \\"},
        {"where": "=40"},
        {"where": "input.context.note=" + "x" * 1024},
        {"where": "input.context.amount"},
        {"mode": "any at all"},
        {"saved": "none"},
    ],
)
def test_questions_that_make_no_sense_are_refused(shipped, query):
    answer = shipped.get("/api/v1/decisions", params=query)
    status = 404 if "saved" in query else 422
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_pages_join_without_gap_or_repeat_while_records_arrive(shipped):
    seen, cursor = [], None
    while True:
        query = {"limit": 3, "system": "payments"} | ({"cursor": cursor} if cursor else {})
        page = shipped.get("/api/v1/decisions", params=query).json()
        seen += [item["decision_id"] for item in page["items"]]
        shipped.ship(record("new", at="2026-03-01T00:00:00Z"), file=f"new-{len(seen)}")
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [f"p{number}" for number in range(9, -1, -1)]


def test_equal_times_do_not_lose_rows_at_a_page_end(api):
    api.create_system("payments")
    api.ship(b"".join(record(f"d{number}") for number in range(7)))
    page = api.get("/api/v1/decisions?limit=4").json()
    rest = api.get("/api/v1/decisions", params={"limit": 4, "cursor": page["next"]}).json()
    found = [item["decision_id"] for item in page["items"] + rest["items"]]
    assert (sorted(found), len(page["items"]), rest["next"]) == ([f"d{number}" for number in range(7)], 4, None)


def test_a_bound_reader_sees_its_own_system(shipped):
    bound = shipped.with_token("decision:read", system="ledger")
    assert ids(bound) == ["l0"]
    assert bound.get("/api/v1/decisions/p1").status_code == 404
    assert bound.get("/api/v1/decisions/l0").status_code == 200


def test_an_unknown_decision_is_not_found(shipped):
    assert shipped.get("/api/v1/decisions/none").status_code == 404


def test_numbers_are_given_as_they_were_recorded(api):
    api.create_system("payments")
    line = record("big").replace(b'"in-7"', b"123456789012345678901234567890.10")
    api.ship(line)
    assert b"123456789012345678901234567890.10" in api.get("/api/v1/decisions/big").content.split(b'"record": ')[1]
