"""What a batch says against its sidecar: it is stored, and a break opens that a person must clear."""

from datetime import timedelta
from hashlib import sha256

import pytest
from sqlmodel import select

from app.control import judgement, lineage, states
from app.control.fsck import leftovers
from app.control.fsck.tables import reading
from app.control.store import Batch, LineageBreak, Store, TrustState

from .batch_kit import AT, OPA, Chain
from .conftest import record
from .test_identity_issuer import bound_to
from .test_sidecars import STATUS
from .test_web import logged_in, page

BREAKS = "/api/v1/lineage/breaks"
OTHER_OPA = "sha256:" + "5" * 64


@pytest.fixture
def plane(signed_plane):
    return signed_plane


def limits(api, **given):
    return api.put("/api/v1/systems/payments/lineage-limits", json=given)


def send(api, chain, **says):
    """The next batch, which says this; its answer."""
    made = chain.peek(record(f"d{chain.entry}")).change(**says)
    answer = chain.send(api, made)
    if answer.status_code == 200:
        chain.follow(made)
    return answer


def breaks(api, **query):
    return api.get(BREAKS, params=query).json()


def refused(answer):
    assert (answer.status_code, answer.json()["reason"]) == (409, "lineage.broken"), answer.text


def clear(api, found):
    answer = api.post(f"{BREAKS}/{found['id']}/clear", json={"reason": "looked at it"})
    assert answer.status_code == 200, answer.text


#: What the second batch says, the kind of break, and what its detail tells.
AGAINST = {
    "clock back": ({"closed_at": AT - timedelta(seconds=3)}, "lineage.clock", "the batch before it at"),
    "clock ahead": ({"closed_at": AT + timedelta(seconds=61)}, "lineage.clock", "after its timestamp of"),
    "another OPA": ({"opa": OTHER_OPA}, "lineage.opa", f"the batch before it was written by {OPA}"),
    "dropped": ({"dropped": 2}, "lineage.dropped", "of 2 answers of OPA there is no record"),
}


@pytest.mark.parametrize(("says", "kind", "detail"), AGAINST.values(), ids=AGAINST)
def test_a_batch_that_speaks_against_its_sidecar_is_stored_and_stops_it(api, plane, chain, says, kind, detail):
    assert send(api, chain).status_code == 200
    assert breaks(api) == []
    assert send(api, chain, **says).status_code == 200
    with plane.store.read() as session:
        first, second = session.exec(select(Batch).order_by(Batch.id)).all()
    (found,) = breaks(api)
    assert (found["kind"], found["stops"], found["instance"], found["object"]) == (kind, True, "i1", None)
    assert (found["batch"], found["sha256"]) == (second.id, second.payload.removeprefix("sha256:"))
    assert found["detail"].startswith(f"batch {second.id}: ")
    assert detail in found["detail"]
    metrics = api.get("/metrics").text
    assert f'placet_lineage_breaks_total{{reason="{kind}",system="payments"}} 1.0' in metrics

    # It is known and acknowledged, so its repeat is; what follows waits for a person.
    assert chain.send(api, chain.made[-1]).status_code == 200
    refused(send(api, chain, **says))
    assert len(breaks(api)) == 1
    clear(api, found)
    # What is as it was in the batch before is no new break; a drop is.
    assert send(api, chain, **says).status_code == 200
    assert [one["kind"] for one in breaks(api)] == ([kind] if kind == "lineage.dropped" or "after" in detail else [])
    assert (first.closed_at, first.dropped, second.dropped) == (AT, 0, says.get("dropped", 0))


@pytest.mark.parametrize(
    "says",
    [
        {"closed_at": AT - timedelta(seconds=2)},
        {"closed_at": AT + timedelta(seconds=60)},
        {"closed_at": AT + timedelta(seconds=1)},
    ],
)
def test_a_clock_that_was_slewed_is_no_break(api, chain, says):
    for given in ({}, says):
        assert send(api, chain, **given).status_code == 200
    assert breaks(api) == []


def test_a_time_long_before_the_signature_counts_and_one_that_waited_does_not(api, chain):
    waited = AT - judgement.LATE - timedelta(seconds=60)  # and the horizon
    assert send(api, chain, closed_at=waited).status_code == 200
    assert breaks(api) == []
    other = Chain("two")
    assert send(api, other, closed_at=waited - timedelta(seconds=1)).status_code == 200
    (found,) = breaks(api)
    assert (found["kind"], "long before its timestamp" in found["detail"]) == ("lineage.clock", True)


def test_a_new_instance_is_compared_with_nothing_before_it(api, chain):
    assert send(api, chain).status_code == 200
    new = Chain(instance="i2", file="000002.log")
    made = new.peek(record("of-i2")).change(opa=OTHER_OPA, closed_at=AT - timedelta(seconds=30))
    assert new.send(api, made).status_code == 200
    assert breaks(api) == []


def test_a_system_says_how_many_stop_it(api, chain):
    by_default = dict.fromkeys(("clock", "repeat", "gap", "fork"), "at-once")
    assert limits(api, dropped=3, opa="never").json()["lineage_limits"] == by_default | {"opa": "never", "dropped": 3}
    assert send(api, chain, dropped=1).status_code == 200
    assert send(api, chain, dropped=1, opa=OTHER_OPA).status_code == 200
    assert [(one["kind"], one["stops"]) for one in breaks(api)] == [
        ("lineage.dropped", False),
        ("lineage.opa", False),
        ("lineage.dropped", False),
    ]
    clear(api, breaks(api)[2])  # what was looked at counts no more
    assert send(api, chain, dropped=1).status_code == 200
    assert not any(one["stops"] for one in breaks(api))
    assert send(api, chain, dropped=1).status_code == 200
    found = [one for one in breaks(api) if one["stops"]]
    assert [one["kind"] for one in found] == ["lineage.dropped"]
    refused(send(api, chain))
    clear(api, found[0])
    assert send(api, chain).status_code == 200


def test_two_kinds_of_one_batch_are_two_breaks(api, chain):
    assert send(api, chain).status_code == 200
    assert send(api, chain, dropped=1, opa=OTHER_OPA).status_code == 200
    assert sorted(one["kind"] for one in breaks(api)) == ["lineage.dropped", "lineage.opa"]
    clear(api, breaks(api)[0])
    refused(send(api, chain))
    clear(api, breaks(api)[0])
    assert send(api, chain, opa=OTHER_OPA).status_code == 200


def test_those_that_never_stop_are_kept_within_bounds(api, plane, chain, monkeypatch):
    monkeypatch.setattr(judgement, "MAX_KEPT", 2)
    monkeypatch.setattr(lineage, "MAX_KEPT", 1)
    limits(api, dropped="never")
    for _ in range(4):
        assert send(api, chain, dropped=1).status_code == 200
    assert [one["stops"] for one in breaks(api)] == [False, False]
    assert 'placet_lineage_breaks_total{reason="lineage.dropped",system="payments"} 4.0' in api.get("/metrics").text
    assert api.post(chain.path, content=b"junk").status_code == 422
    assert len(breaks(api)) == 3, "what somebody else sent is kept beside them"
    limits(api, dropped=2)
    assert send(api, chain, dropped=1).status_code == 200
    refused(send(api, chain))


def test_who_may_set_limits(api, chain):
    path = "/api/v1/systems/payments/lineage-limits"
    assert api.with_token("system:read").put(path, json={"clock": 2}).status_code == 403
    assert api.put(path.replace("payments", "nobody"), json={"clock": 2}).status_code == 404


# ---- trust states ------------------------------------------------------------------------------------------


def put_state(api, number):
    document = b'{"number":%d}' % number
    digest = "sha256:" + sha256(document).hexdigest()
    return digest, api.put(f"/api/v1/systems/payments/states/{digest}", content=document).status_code


def test_states_that_no_batch_names_are_bounded_for_each_sidecar(api, plane, chain, monkeypatch):
    monkeypatch.setattr(states, "MAX_UNNAMED", 2)
    one, two = bound_to(api), bound_to(api, "two")
    kept = [put_state(one, number) for number in range(3)]
    assert [code for _, code in kept] == [204, 204, 429]
    assert put_state(one, 0)[1] == 204, "what is there may come again"
    assert put_state(two, 9)[1] == 204, "its neighbour goes on"
    assert put_state(api, 10)[1] == 204

    # Those that a stored batch names make room.
    result = {"allow": True, "reasons": [], "bundles": {"policy": "sha256:" + "1" * 64}, "state": kept[0][0]}
    made = chain.next(record("d0", result=result))
    assert chain.send(api, made).status_code == 200
    with plane.store.read() as session:
        rows = {row.digest: row.named for row in session.exec(select(TrustState))}
    assert [digest for digest, named in rows.items() if named] == [kept[0][0]]
    assert put_state(one, 2)[1] == 204
    assert put_state(one, 3)[1] == 429
    monkeypatch.setattr(states, "WINDOW", timedelta(0))
    assert put_state(one, 3)[1] == 204, "what is a day old counts no more"


def test_a_sidecar_that_ships_nothing_hears_of_its_break_when_it_reports(api, chain):
    path = "/api/v1/systems/payments/sidecars/one/status"
    assert api.post(path, json=STATUS).status_code == 200
    assert send(api, chain, dropped=1).status_code == 200
    refused(api.post(path, json=STATUS | {"channel": "other"}))
    (shown,) = api.get("/api/v1/systems/payments/sidecars").json()
    assert shown["channel"] == "other", "what it says is kept"
    assert api.post(path.replace("one", "two"), json=STATUS).status_code == 200
    clear(api, breaks(api)[0])
    assert api.post(path, json=STATUS).status_code == 200


def test_fsck_names_a_break_that_is_not_of_its_batch(api, plane, chain):
    assert send(api, chain).status_code == 200
    assert send(api, chain, dropped=1).status_code == 200

    store = Store(plane.settings.database_url)  # its own, which only reads

    def found():
        with reading(store) as tables:
            return [(one.kind, one.column) for one in leftovers.judged(tables.breaks("payments", None), tables)]

    assert found() == []
    for column, value in (
        ("sidecar", "two"),
        ("instance", "i2"),
        ("body_sha256", "0" * 64),
        ("batch", 1),
        ("batch", 99),
    ):
        with plane.store.write() as session:
            row = session.exec(select(LineageBreak)).one()
            before = getattr(row, column)
            setattr(row, column, value)
            session.add(row)
        expected = {1: ("changed", "body_sha256"), 99: ("missing", "batch")}.get(value, ("changed", column))
        assert found() == [expected], column
        with plane.store.write() as session:
            row = session.exec(select(LineageBreak)).one()
            setattr(row, column, before)
            session.add(row)
    assert found() == []
    store.close()


def test_the_sidecars_page_shows_what_was_judged(api, anonymous, chain):
    limits(api, opa="never")
    assert send(api, chain).status_code == 200
    assert send(api, chain, opa=OTHER_OPA, dropped=1).status_code == 200
    text = page(logged_in(anonymous, api.token), "/sidecars").text
    assert "<strong>payments · one</strong> stands still since" in text
    assert "of 1 answers of OPA there is no record" in text
    assert "What batches that were taken say against their sidecars" in text
    assert "<code>lineage.opa</code>" in text
    assert "that no sidecar signed" not in text
