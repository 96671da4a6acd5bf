"""Whatever the path, a search finds the records that a plain reading of them finds, in pages, at both databases."""

import json
import random
import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.control import decision_filter, search
from app.control.decision_filter import Filter
from app.control.tail import Tail
from app.core import batch_words, usual_record
from app.core.record_words import Wanted

from .conftest import record

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def leaves(value, names=()):
    """Every value of a document that holds no others, with its path."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*names, name))
    elif isinstance(value, list):
        for member in value:
            yield from leaves(member, names)
    else:
        yield ".".join(names), value if isinstance(value, str) else json.dumps(value)


def same(one, other):
    if NUMBER.fullmatch(one) and NUMBER.fullmatch(other):
        return Decimal(one) == Decimal(other)
    return one == other


def plainly(document, path, value):
    return any(at == path and same(text, value) for at, text in leaves(document))


NAMES = st.sampled_from(["a", "b", "a.b", "input", "labels", "identity", "token", "", "[]", "é"]) | st.text(max_size=3)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.text(max_size=6)
    | st.sampled_from(["1", "1.0", "true", "null", 'a"b', "a\\b", "/x", "Ä", "x=y"])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
MEMBERS = [
    "decision_id",
    "input",
    "result",
    "labels",
    "bundles",
    "nd_builtin_cache",
    "masked",
    "metrics",
    "requested_by",
]
RECORDS = st.dictionaries(st.sampled_from(MEMBERS) | st.text(min_size=1, max_size=3), VALUES, max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=4), st.booleans(), st.data())
def test_records_hold_what_a_plain_reading_finds_in_them(documents, ascii, data):
    asked = [leaf for one in documents for leaf in leaves(one)] + [("labels.id", "x"), ("input.a", "1")]
    where = data.draw(st.lists(st.sampled_from(asked), min_size=1, max_size=3))
    raw = [json.dumps(one, ensure_ascii=ascii).encode("utf-8", "surrogatepass") for one in documents]
    wanted = Wanted("", where)
    fits = [all(plainly(one, *leaf) for leaf in where) for one in documents]
    assert [wanted.in_record(one) for one in raw] == fits, where
    terms = batch_words.terms(raw, usual_record.read_all(raw))
    assert not any(fits) or set(wanted.terms) <= terms.keys()


def made(number, chance):
    """A record with members as OPA writes them, and its document."""
    line = record(
        f"d{number:03}",
        allow=number % 3 != 0,
        at=f"2026-01-31T12:{number // 60:02}:{number % 60:02}Z",
        labels={"id": f"opa-{number % 2}", "version": chance.choice(["1.22.2", "1.22.3"]), "a=b": number % 5},
        bundles={"placet": {"revision": f"r{number % 4}"}},
        masked=chance.sample(["/input/identity", "/input/warrant", "/nd_builtin_cache/io.jwt.decode_verify"], 2),
        metrics={"timer_rego_query_eval_ns": 1000 + number % 6, "counter": chance.choice([1, 1.5, 2e3])},
        nd_builtin_cache={"time.now_ns": {"[]": 10**18 + number}, "rand.intn": {json.dumps(["n", number % 3]): 7}},
        requested_by=chance.choice(["10.0.0.1:80", 'odd "one"', "Ä \\"]),
        **({"erased": ["/input/context/card"]} if number % 20 == 0 else {}),
    )
    return line, json.loads(line)


@pytest.fixture
def documents(api):
    """90 records in batches of 1 to 12 of two sidecars: what each of them says, newest first."""
    api.create_system("payments")
    chance = random.Random(11)
    lines = [made(number, chance) for number in range(90)]
    for name, left in (("one", lines[::2]), ("two", lines[1::2])):
        place = 0
        while left:
            size = chance.randint(1, 12)
            body = b"".join(line for line, _ in left[:size])
            del left[:size]
            assert api.ship(body, first=place, sidecar=name).status_code == 200
            place += len(body)
    return [document for _, document in reversed(lines)]


def asked_of(documents):
    """Values at every path that there is, and some that there are not."""
    by_path = {}
    for document in documents:
        for path, value in leaves(document):
            by_path.setdefault(path, set()).add(value)
    chance = random.Random(12)
    for path, values in sorted(by_path.items()):
        yield path, chance.choice(sorted(values))
    yield from [("labels.id", "none"), ("labels.version", "1.22"), ("masked", "input"), ("absent.path", "1")]


def all_of(plane, wanted, limit, patience):
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        with plane.store.read() as session:
            page = search.search(session, plane.objects, wanted, limit, cursor, patience)
        found += [one.decision_id for one in page.items]
        cursor, pages = page.next, pages + 1
    return found, pages


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_every_path_finds_what_a_plain_reading_finds(documents, plane):
    questions = [*asked_of(documents)]
    assert len({path for path, _ in questions}) > 20
    for number, (path, value) in enumerate(questions):
        also = questions[number * 7 % len(questions)] if number % 3 == 0 else (path, value)
        wanted = Filter(system="payments", where=((path, value), also), outcome="deny" if number % 4 == 0 else None)
        fits = [
            one["decision_id"]
            for one in documents
            if plainly(one, path, value) and plainly(one, *also) and (not wanted.outcome or not one["result"]["allow"])
        ]
        for limit, patience in ((50, 5.0), (4, 5.0), (50, 0.0)):
            found, pages = all_of(plane, wanted, limit, patience)
            assert found == fits, (wanted.where, limit, patience)
        assert pages > 1, "out of patience, a page ends early and its cursor goes on"


def test_the_api_takes_every_path(documents, api):
    for text, fits in (
        ("labels.version=1.22.3", lambda one: one["labels"]["version"] == "1.22.3"),
        ('labels."a=b"=3.0', lambda one: one["labels"]["a=b"] == 3),
        ('nd_builtin_cache.rand.intn.["n", 2]=7', lambda one: '["n", 2]' in one["nd_builtin_cache"]["rand.intn"]),
        ("masked=/input/warrant", lambda one: "/input/warrant" in one["masked"]),
        ("erased=/input/context/card", lambda one: "erased" in one),
        ("timestamp=2026-01-31T12:00:05Z", lambda one: one["decision_id"] == "d005"),
        ("input.identity.token=sha256:" + "ab" * 32, lambda one: True),
    ):
        expected = [one["decision_id"] for one in documents if fits(one)]
        answer = api.get("/api/v1/decisions", params={"where": text, "limit": 200}).json()
        assert [one["decision_id"] for one in answer["items"]] == expected, text
        assert api.put("/api/v1/searches/one", json={"filter": {"where": [text]}}).status_code == 200
        again = api.get("/api/v1/decisions", params={"saved": "one", "limit": 200}).json()
        assert again == answer
        lines = api.get("/api/v1/decisions/records", params={"where": text}).content.splitlines()
        assert [json.loads(line)["decision_id"] for line in lines[1:]] == expected, text


def test_a_follower_is_shown_what_has_a_value_at_such_a_path(documents, api, plane):
    with plane.store.read() as session:
        follower = Tail(Filter(where=decision_filter.where(["labels.id=late"])), 0)
        assert follower.look(session, plane.objects) == []
    api.ship(record("e1", labels={"id": "late"}) + record("e2", labels={"id": "other"}), file="late")
    with plane.store.read() as session:
        assert [one.decision_id for one in follower.look(session, plane.objects)] == ["e1"]
