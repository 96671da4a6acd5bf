"""A journal's statement is taken when it is signed, follows the last one, and says so; else it stops its sidecar.

Signatures are plain JSON here, so that every other fault can be tried; test_execution_lineage.py has the real ones.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import pytest

from app.control import links
from app.control.enrolment import evict
from app.control.store import Approval, LineageBreak, Link, LinkResource, Warrant
from app.control.tokens import Access, Scope
from app.core.link_names import Ref, payload_digest

from .batch_kit import plain_evidence, rows, sidecar_id
from .link_kit import AT, EXECUTION, Journal, digest

BREAKS = "/api/v1/lineage/breaks"
OTHER = "execution-of-somebody-else"


@pytest.fixture
def plane(signed_plane):
    return signed_plane


@pytest.fixture(autouse=True)
def payments(api):
    api.create_system("payments")


def taken(answer, made):
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"number": str(made.number + 1)}


def refused(answer, status, reason):
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.json()["reason"] == reason, answer.text


def whole_journal():
    journal = Journal()
    journal.trust()
    journal.enforce()
    journal.start(decisions=[Ref("decision/d1", digest("leaf"))], warrants=[Ref("warrant/w1", digest("token"))])
    journal.step("load", materials=[Ref("artifact/in", digest("in"))], products=[Ref("artifact/out", digest("out"))])
    journal.lease()
    journal.step("write", materials=[Ref("artifact/out", digest("out"))], command=["write", "--all"])
    journal.end()
    return journal


def test_a_journal_is_stored_row_by_row_with_its_evidence(api, plane):
    journal = whole_journal()
    journal.send_all(api)
    stored = rows(plane, Link)
    assert [row.number for row in stored] == list(range(7))
    for row, made in zip(stored, journal.made, strict=True):
        evidence = plane.objects.get(row.object)
        assert evidence.decode() == journal.body(made, log_index=made.number)["evidence"]
        assert row.evidence_sha256 == sha256(evidence).hexdigest()
        assert (row.payload, row.kind, row.execution) == (payload_digest(made.statement()), made.kind, made.execution)
        assert (row.at, row.log_index, row.sidecar, row.instance) == (made.at, made.number, "one", "i1")
        assert row.object == f"links/payments/one/i1/{made.number:020d}-{row.payload.removeprefix('sha256:')}.json"
    named = [one for one in rows(plane, LinkResource) if one.link == stored[3].id]
    step = journal.made[3]
    assert [
        (one.material, one.name, f"sha256:{one.sha256}") for one in sorted(named, key=lambda one: one.position)
    ] == [
        *((False, *one) for one in step.subject),
        *((True, *one) for one in step.materials),
    ]


def test_a_repeat_gets_the_same_answer_under_any_signature(api, plane):
    journal = whole_journal()
    journal.send_all(api)
    for made in journal.made:
        taken(journal.send(api, made, log_index=99), made)
    assert len(rows(plane, Link)) == 7
    assert rows(plane, LineageBreak) == []


def test_many_at_once_are_one(api, plane):
    journal = Journal()
    made = journal.start()
    with ThreadPoolExecutor(6) as pool:
        for answer in pool.map(lambda _: journal.send(api, made), range(6)):
            taken(answer, made)
    assert len(rows(plane, Link)) == 1


@pytest.mark.parametrize(
    ("spoil", "status", "reason"),
    [
        (lambda journal: replace(journal.peek_step(), place=journal.place(number=9)), 409, "link.gap"),
        (lambda journal: replace(journal.peek_step(), place=journal.place(previous=digest("x"))), 409, "link.fork"),
        (lambda journal: replace(journal.made[-1], command=("else",)), 409, "link.fork"),
        (lambda journal: of_another_instance(journal), 409, "link.gap"),
        (lambda journal: journal.peek_start(), 409, "link.fork"),
        (lambda journal: foreign(journal), 409, "link.gap"),
        (lambda journal: skipping(journal), 409, "link.fork"),
        (lambda journal: journal.peek_step().statement() + b" ", 422, "link.malformed"),
        (lambda journal: of_another(journal), 422, "link.invalid"),
        (lambda journal: of_another(journal, "name"), 422, "link.invalid"),
    ],
    ids=["number", "previous", "same-number", "instance", "started-twice", "never-started", "skips-a-step", "bytes",
         "sidecar", "name"],
)  # fmt: skip
def test_what_does_not_fit_is_kept_and_stops_the_sidecar(api, plane, spoil, status, reason):
    journal = Journal()
    journal.start()
    journal.step()
    journal.send_all(api)
    body = journal.body(spoil(journal))
    refused(api.post(journal.path, json=body), status, reason)
    [found] = api.get(BREAKS).json()
    assert (found["kind"], found["stops"], found["sidecar"]) == (reason, True, "one")
    assert json.loads(plane.objects.get(found["object"])) == body
    assert len(rows(plane, Link)) == 2
    honest = journal.step("next")
    refused(journal.send(api, honest), 409, "lineage.broken")
    cleared = api.post(f"{BREAKS}/{found['id']}/clear", json={"reason": "looked at it"})
    assert cleared.status_code == 200, cleared.text
    taken(journal.send(api, honest), honest)


def foreign(journal):
    """A step of an execution that never started."""
    journal.last[OTHER] = ("execution/start", digest("start"), 0)
    return journal.peek_step(execution=OTHER)


def skipping(journal):
    """A step that names the start, although another step came after it."""
    other = Journal(number=journal.number, previous=journal.previous)
    other.last[EXECUTION] = ("execution/start", payload_digest(journal.made[0].statement()), 0)
    return other.peek_step()


def of_another_instance(journal):
    return Journal(instance="i2", number=2, previous=journal.previous, last=journal.last).peek_step()


def of_another(journal, system="payments"):
    other = Journal("two", system, number=journal.number, previous=journal.previous)
    return other.peek_start(OTHER).statement()


def test_the_same_execution_may_start_again_where_it_names_what_was_before(api):
    journal = Journal()
    journal.start()
    journal.start(again=True)
    journal.step()
    journal.start(again=True)
    journal.step()
    journal.end()
    journal.send_all(api)


def test_a_start_that_goes_on_from_nothing_is_a_gap(api):
    journal = Journal()
    journal.last[EXECUTION] = ("execution/step", digest("lost"), 1)
    refused(journal.send(api, journal.peek_start(again=True)), 409, "link.gap")


def test_nothing_follows_an_end(api):
    journal = whole_journal()
    journal.send_all(api)
    journal.last[EXECUTION] = ("execution/step", payload_digest(journal.made[-2].statement()), 2)
    refused(journal.send(api, journal.peek_step()), 409, "link.fork")


def test_an_older_instance_is_a_fork_once_another_has_begun(api):
    first, second = Journal(), Journal(instance="i2")
    first.start()
    first.send_all(api)
    second.start(OTHER)
    second.send_all(api)
    refused(first.send(api, first.peek_step()), 409, "link.fork")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"evidence":1}', b'{"evidence":"x"}', b'{"evidence":"{}","more":""}'])
def test_what_nobody_signed_stops_nobody(api, plane, body):
    answer = api.post(Journal().path, content=body)
    assert (answer.status_code, answer.json()["reason"][:5]) == (422, "link.")
    assert [one.stops for one in rows(plane, LineageBreak)] == [False]
    journal = Journal()
    journal.start()
    journal.send_all(api)


def test_another_signer_stops_nobody(api, plane):
    journal = Journal()
    made = journal.peek_start()
    evidence = plain_evidence(made.statement(), sidecar_id("two"))
    refused(api.post(journal.path, json={"evidence": evidence.decode()}), 422, "link.invalid")
    assert [one.stops for one in rows(plane, LineageBreak)] == [False]
    assert rows(plane, Link) == []


def test_a_token_of_another_sidecar_and_an_evicted_sidecar_are_refused(api, plane):
    journal = Journal()
    made = journal.start()
    sends = api.with_token("record:write", system="payments")
    for path, token in ((journal.path, "decision:read"), ("/api/v1/systems/billing/sidecars/one/links", None)):
        stranger = api.with_token(token or "record:write", system="payments", name=path[-9:])
        assert stranger.post(path, json=journal.body(made)).status_code == 403
    taken(journal.send(sends, made), made)
    with plane.store.write() as session:
        evict(session, Access("t", "t", frozenset({Scope.ADMIN}), None), "payments", "one", "stolen")
    refused(journal.send(sends, made), 403, "sidecar.evicted")


def test_without_a_lineage_log_nothing_is_taken(api, plane):
    object.__setattr__(plane, "verify_batch", None)
    journal = Journal()
    answer = journal.send(api, journal.start())
    assert answer.status_code == 409 and "lineage log" in answer.json()["detail"]


def test_a_crash_before_the_rows_leaves_the_statement_to_be_taken_again(api, plane, monkeypatch):
    journal = Journal()
    made = journal.start()

    def crash(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(links, "resources", crash)
        assert journal.send(api, made).status_code == 500
    assert rows(plane, Link) == []
    taken(journal.send(api, made), made)


def test_the_approval_of_a_warrant_is_kept_beside_the_start(api, plane):
    request = {"requested_by": "t", "obtained": {}, "how": "api", "subject_issuer": "i", "subject_id": "s"}
    with plane.store.write() as session:
        for warrant in ("w1", "w2"):
            more = {"request": {}, "request_digest": digest(warrant), "needs_approval": True}
            session.add(Warrant(id=warrant, system="payments", **request, **more))
        session.flush()
        signed = {"identity": "boss@example.org", "issuer": "https://accounts.example.org", "signed_at": AT}
        session.add(
            Approval(warrant="w1", request_digest=digest("w1"), evidence="the evidence", received_by="t", **signed)
        )
    journal = Journal()
    journal.start(warrants=[Ref("warrant/w1", digest("1")), Ref("warrant/w2", digest("2"))])
    journal.send_all(api)
    assert plane.objects.get(links.approval_key("payments", "w1")) == b"the evidence"
    assert [key for key, _ in plane.objects.keys("approvals")] == ["approvals/payments/w1.json"]
