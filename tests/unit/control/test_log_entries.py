"""What the control plane tells a monitor: each entry of which it has evidence, once, and as the evidence says it."""

import base64
import json
from datetime import timedelta

import pytest
from sqlmodel import select

from app.control import break_signing, log_entries
from app.control.break_signing import Failed
from app.control.plane import Plane
from app.control.settings import Settings
from app.control.store import Batch, Link, SignedBreak
from app.core import merkle
from app.core.errors import PlacetError
from app.core.governance import control_plane_id
from app.core.log_expected import ExpectedFile, checked_page
from app.core.log_monitor import Monitor
from app.core.log_monitor_state import MonitorState
from app.core.log_source import DirectorySource
from tests.unit.core.log_kit import Authority, MadeLog, some

from .batch_kit import AT, DOMAIN, Chain, plain_evidence, verify_batch_plain
from .conftest import record, verify_plain, verify_statement_plain
from .test_judgement import OTHER_OPA

ENTRIES = "/api/v1/lineage/entries"
CHECKPOINT = "/api/v1/lineage/checkpoint"


@pytest.fixture
def plane(installed, monkeypatch):
    # On PostgreSQL nothing is listed at once.
    monkeypatch.setattr(log_entries, "SETTLED", timedelta(0))
    opened = Plane.open(
        Settings.load(installed.directory), verify_plain, verify_statement_plain, verify_batch=verify_batch_plain
    )
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def systems(api):
    api.create_system("payments")
    api.create_system("billing")


def evidence(payload, signer, index, body=None, checkpoint=None):
    """Plain evidence that also says where it stands in the log."""
    document = json.loads(plain_evidence(payload, signer, log_index=index))
    document["verificationMaterial"]["tlogEntries"][0] |= {
        "canonicalizedBody": base64.b64encode(body or f"body {index}".encode()).decode(),
        "inclusionProof": {"checkpoint": {"envelope": checkpoint or f"checkpoint {index}"}},
    }
    return json.dumps(document).encode()


def send(api, chain, index):
    made = chain.next(record(f"d{index}"))
    raw = evidence(made.statement.statement(), chain.signer, index)
    answer = chain.send(api, type(made)(**{**vars(made), "evidence": raw}))
    assert answer.status_code == 200, answer.text


def add_link(plane, number, index):
    """A statement of a journal, as `app.control.links` stores one."""
    key = f"links/payments/one/i1/{number}.json"
    plane.objects.put(key, evidence(b"{}", "somebody", index))
    with plane.store.write() as session:
        session.add(
            Link(
                system="payments", sidecar="one", instance="i1", number=number, payload="sha256:" + f"{index:064x}",
                kind="execution/start", at=AT, signed_at=AT, log_index=index, object=key, evidence_sha256="0" * 64,
            )
        )  # fmt: skip


def names(page):
    return [one["name"] for one in page["entries"]]


def test_nothing_yet(api):
    page = api.get(ENTRIES).json()
    assert page == {"identities": "spiffe://placet.internal/sidecar/", "entries": [], "next": "b0l0k0s0", "more": False}
    assert api.get(CHECKPOINT).status_code == 404


def test_what_the_evidence_says(api, plane):
    send(api, Chain(), 7)
    add_link(plane, 0, 9)
    page = api.get(ENTRIES).json()
    assert page["entries"] == [
        {"name": "batch payments/one/i1/0", "index": "7", "leaf": merkle.entry_hash(b"body 7").hex(),
         "checkpoint": "checkpoint 7"},
        {"name": "statement payments/one/i1/0", "index": "9", "leaf": merkle.entry_hash(b"body 9").hex(),
         "checkpoint": "checkpoint 9"},
    ]  # fmt: skip
    assert checked_page(page, "it").entries[0].index == "7"
    answer = api.get(CHECKPOINT)
    assert (answer.text, answer.headers["content-type"]) == ("checkpoint 9", "text/plain; charset=utf-8")


def test_what_was_signed_and_refused_is_held_too(api, plane):
    """It is in the log, and here, for whoever looks at the break. What nobody signed counts for nothing."""
    chain = Chain()
    send(api, chain, 1)
    gap = chain.peek(record("d2"), first_entry=7, first_byte=chain.byte + 10)
    body = type(gap)(**{**vars(gap), "evidence": evidence(gap.statement.statement(), chain.signer, 2)})
    assert chain.send(api, body).status_code == 409
    forged = type(gap)(**{**vars(gap), "evidence": evidence(gap.statement.statement(), "spiffe://x/y", 3)})
    assert chain.send(api, forged).status_code == 422
    [_, refused] = api.get(ENTRIES).json()["entries"]
    assert (refused["name"], refused["index"]) == ("break 1 of payments/one", "2")
    assert refused["leaf"] == merkle.entry_hash(b"body 2").hex()
    page = api.get(ENTRIES, params={"limit": 1}).json()
    assert names(api.get(ENTRIES, params={"after": page["next"]}).json()) == ["break 1 of payments/one"]
    for found, _ in list(plane.objects.keys("quarantine/")):
        plane.objects.put(found, b"{}")
    assert len(api.get(ENTRIES).json()["entries"]) == 1


def test_pages_list_everything_once_and_go_on(api, plane):
    chain = Chain()
    for index in range(3):
        send(api, chain, index)
    for number in range(3):
        add_link(plane, number, 10 + number)
    seen, after = [], None
    while True:
        page = api.get(ENTRIES, params={"limit": 2} | ({"after": after} if after else {})).json()
        seen += names(page)
        after = page["next"]
        if not page["more"]:
            break
    assert len(seen) == len(set(seen)) == 6
    send(api, chain, 20)
    add_link(plane, 3, 21)
    assert names(api.get(ENTRIES, params={"after": after}).json()) == [
        "batch payments/one/i1/3",
        "statement payments/one/i1/3",
    ]


def test_unsigned_batches_are_in_no_log(api, installed, plane):
    opened = Plane.open(Settings.load(installed.directory), verify_plain, verify_statement_plain)
    try:
        with plane.store.write() as session:
            session.add(
                Batch(system="payments", sidecar="one", instance="i", file="f", first=0, last=1, sha256="0" * 64,
                      object="o", other_lines=1)
            )  # fmt: skip
        assert api.get(ENTRIES).json()["entries"] == []
    finally:
        opened.close()


def test_of_one_system_alone(api, plane):
    send(api, Chain(), 1)
    send(api, Chain(name="two", system="billing", instance="i2"), 2)
    page = api.get(ENTRIES, params={"system": "billing"}).json()
    assert (names(page), page["identities"]) == (
        ["batch billing/two/i2/0"],
        "spiffe://placet.internal/sidecar/billing/",
    )
    bound = api.with_token("system:read", system="payments")
    page = bound.get(ENTRIES).json()
    assert (names(page), page["identities"]) == (
        ["batch payments/one/i1/0"],
        "spiffe://placet.internal/sidecar/payments/",
    )
    assert bound.get(ENTRIES, params={"system": "billing"}).status_code == 403


def test_evidence_that_cannot_be_read_is_listed_as_such(api, plane):
    chain = Chain()
    for index in (1, 2, 3):
        send(api, chain, index)
    with plane.store.read() as session:
        keys = list(session.exec(select(Batch.evidence).order_by(Batch.log_index)))
    plane.objects.put(keys[1], b"{}")
    (plane.settings.directory / "objects" / keys[2]).unlink()
    [good, changed, missing] = api.get(ENTRIES).json()["entries"]
    assert good["leaf"] is not None
    assert {changed["leaf"], changed["checkpoint"], missing["leaf"], missing["checkpoint"]} == {None}
    assert api.get(CHECKPOINT).text == "checkpoint 1"  # the newest that it still has


def test_cursors_of_another_form(api):
    for after in ("", "b1l1", "b-1l0k0", "b1l1k1x", "b1l1k1s", "b1l1k1s01", "b01l0k0", "b" + "9" * 19 + "l0k0", "'"):
        answer = api.get(ENTRIES, params={"after": after})
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), after


def test_who_may_ask(api, anonymous):
    for path in (ENTRIES, CHECKPOINT):
        assert anonymous.get(path).status_code == 401
        assert api.with_token("record:write").get(path).status_code == 403


def test_on_postgresql_rows_settle_first(api, plane, monkeypatch):
    """Rows are numbered before they are committed there: a page must not go past one that is still to come."""
    send(api, Chain(), 1)
    monkeypatch.setattr(log_entries, "SETTLED", timedelta(hours=1))
    with plane.store.read() as session:
        postgresql = session.get_bind().dialect.name == "postgresql"
    assert len(api.get(ENTRIES).json()["entries"]) == (0 if postgresql else 1)


# ---- what the control plane signed of breaks ---------------------------------------------------------------


def broken(api, index, system="payments", **made):
    """A sidecar that another OPA binary stopped, and whose break was cleared; its evidence begins at `index`."""
    chain = Chain(system=system, **made)
    send(api, chain, index)
    judged = chain.next(record(f"d{index + 1}")).change(opa=OTHER_OPA)
    raw = evidence(judged.statement.statement(), chain.signer, index + 1)
    assert chain.send(api, type(judged)(**{**vars(judged), "evidence": raw})).status_code == 200
    [found] = [one for one in api.get("/api/v1/lineage/breaks").json() if one["system"] == system]
    assert api.post(f"/api/v1/lineage/breaks/{found['id']}/clear", json={"reason": "looked at it"}).status_code == 200


def signing(indexes, **more):
    """Signs as the control plane, at these places of the log; then the log is away."""

    def sign(says):
        if not indexes:
            raise PlacetError("the log does not answer")
        return evidence(says.statement(), control_plane_id(DOMAIN), indexes.pop(0), **more)

    return sign


def test_what_is_signed_of_breaks_is_listed_once_and_after_what_was_listed_before(api, plane):
    broken(api, 1)
    page = api.get(ENTRIES).json()
    assert names(page) == ["batch payments/one/i1/0", "batch payments/one/i1/1"]
    break_signing.step(plane, signing([5, 8]), Failed())
    [opened] = api.get(ENTRIES, params={"after": page["next"], "limit": 1}).json()["entries"]
    assert opened == {"name": "break 1 of payments/one, opened", "index": "5", "checkpoint": "checkpoint 5",
                      "leaf": merkle.entry_hash(b"body 5").hex()}  # fmt: skip
    page = api.get(ENTRIES, params={"after": page["next"], "limit": 1}).json()
    page = api.get(ENTRIES, params={"after": page["next"]}).json()
    assert names(page) == ["break 1 of payments/one, cleared"]
    assert api.get(ENTRIES, params={"after": page["next"]}).json()["entries"] == []
    old = api.get(ENTRIES, params={"after": "b2l0k0"}).json()
    assert names(old) == ["break 1 of payments/one, opened", "break 1 of payments/one, cleared"]
    assert api.get(CHECKPOINT).text == "checkpoint 8"
    assert len(api.get(ENTRIES).json()["entries"]) == 4


def test_what_is_signed_of_breaks_of_one_system_alone(api, plane):
    broken(api, 1)
    broken(api, 3, "billing", name="two", instance="i2")
    break_signing.step(plane, signing([5, 6, 7, 8]), Failed())
    page = api.get(ENTRIES, params={"system": "billing"}).json()
    assert [one for one in names(page) if "break" in one] == [
        "break 2 of billing/two, opened",
        "break 2 of billing/two, cleared",
    ]


def test_one_that_is_missing_in_the_log_is_found(api, plane, tmp_path):
    """A log that was cut short, or an entry that another took the place of."""
    broken(api, 1)
    log = MadeLog(tmp_path / "log", Authority(tmp_path / "authority"))
    log.publish(*some(10))
    note = log.checkpoint().note
    break_signing.step(plane, signing([5], body=log.entries[5], checkpoint=note), Failed())
    with plane.store.read() as session:
        assert [row.change for row in session.exec(select(SignedBreak))] == ["opened"]
    page = api.get(ENTRIES, params={"after": "b2l0k0"}).json()
    file = tmp_path / "expected.json"

    def findings(page):
        file.write_text(json.dumps(page))
        report, _ = Monitor(DirectorySource(log.directory), log.authority.trust, ExpectedFile(file)).look(
            MonitorState()
        )
        return [(str(one.reason), one.index, one.entry) for one in report.findings]

    assert findings(page) == []
    other = MadeLog(tmp_path / "other", log.authority)
    other.publish(*log.entries[:5], b"another", *log.entries[6:])
    page["entries"][0]["checkpoint"] = other.checkpoint().note
    log = other
    assert findings(page) == [("log.missing", 5, "break 1 of payments/one, opened")]
