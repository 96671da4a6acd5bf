"""A batch is taken when everything that its statement says holds; else it is kept, told, and stops its sidecar.

Signatures are plain JSON here (`batch_kit`), so that every other fault can be tried; test_signed_batches.py has the
real ones.
"""

import base64
import gzip
import json
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import event

from app.control import batch_reading, batches, lineage, raw_records, records
from app.control.batch_checks import MAX_BODY, Offer
from app.control.enrolment import evict
from app.control.settings import Settings
from app.control.store import Batch, Decision, LineageBreak
from app.control.tokens import Access, Scope
from app.core import merkle
from app.core.errors import Denied
from app.core.evidence_form import MAX_EVIDENCE
from app.core.proof_form import Proof
from app.core.reason_codes import Reason

from .batch_kit import OPA, Chain, give_release, plain_evidence, request, rows, sidecar_id, verify_batch_plain
from .conftest import record
from .test_records import POISON

BREAKS = "/api/v1/lineage/breaks"


@pytest.fixture
def plane(signed_plane):
    return signed_plane


@pytest.fixture(autouse=True)
def payments(api):
    api.create_system("payments")


def stored(plane):
    return len(rows(plane, Batch)), len(rows(plane, Decision))


def taken(answer, made):
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"acknowledged": made.statement.last_byte, "entries": made.statement.next_entry}


def refused(answer, status, reason):
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.json()["reason"] == reason, answer.text


def breaks(api, **query):
    return api.get(BREAKS, params=query).json()


def clear(api, identifier, reason="looked at it"):
    return api.post(f"{BREAKS}/{identifier}/clear", json={"reason": reason})


def several(start, count=3):
    return b"".join(record(f"d{number}", allow=number % 2 == 0) for number in range(start, start + count))


def test_a_signed_batch_is_stored_searchable_and_proved(api, plane):
    chain = Chain()
    first, second = chain.next(several(0)), chain.next(b"a message of OPA's\n" + several(3))
    for made in (first, second):
        taken(chain.send(api, made), made)
    assert stored(plane) == (2, 6)
    whole = api.get("/api/v1/decisions/d4").json()
    signed = whole["signed"]
    assert signed["entries"] == {"first": 3, "count": 4}
    assert (signed["root"], signed["log_index"]) == (second.statement.root, 7)

    refused(api.get("/api/v1/decisions/d4/proof"), 404, "proof.missing")  # the policy that it names is no release here
    signature = give_release(plane)
    answer = api.get("/api/v1/decisions/d4/proof")
    assert answer.status_code == 200, answer.text
    proof = Proof.read(answer.content)
    assert (proof.record, proof.index) == (record("d4")[:-1], 2)
    assert (proof.release.digest, len(proof.release.evidence)) == ("sha256:" + "1" * 64, 1)
    assert json.loads(proof.release.evidence[0]) == json.loads(signature)
    assert proof.salt == second.salts[32:48]
    root = merkle.root_from_path(merkle.leaf_hash(proof.salt, proof.record), 2, 4, proof.path)
    assert root.hex() == second.statement.root

    row = rows(plane, Batch)[1]
    assert (row.payload, row.previous) == (chain.previous, rows(plane, Batch)[0].payload)
    assert (row.opa, row.other_lines) == (second.statement.opa, 1)
    for key in (row.evidence, row.salts, row.leaves):
        assert sha256(plane.objects.get(key)).hexdigest() == key.rpartition("/")[2], "addressed by digest"


def test_a_repeat_gets_the_same_answer_and_stores_nothing(api, plane):
    chain = Chain()
    made = [chain.next(several(3 * number)) for number in range(3)]
    for one in made:
        taken(chain.send(api, one), one)
    evidence = [row.evidence for row in rows(plane, Batch)]
    for one in made:
        taken(chain.send(api, one), one)
    again = replace(made[1], evidence=plain_evidence(made[1].statement.statement(), chain.signer, log_index=99))
    taken(chain.send(api, again), again)  # signed anew after a crash: the same payload is the same batch
    assert [row.evidence for row in rows(plane, Batch)] == evidence
    assert stored(plane) == (3, 9)
    assert breaks(api) == []


def test_files_and_instances_follow_each_other(api, plane):
    chain = Chain()
    taken(chain.send(api, made := chain.next(several(0))), made)
    taken(chain.send(api, made := chain.next(several(3), file="000002.log", first_byte=0)), made)
    taken(chain.send(api, made := chain.next(several(6))), made)
    # A new instance begins at sequence 0, perhaps inside a file of which the rest is another instance's.
    new = Chain(instance="i2", file="000002.log", byte=chain.byte)
    taken(new.send(api, made := new.next(several(9))), made)
    # An instance whose beginning came unsigned goes on where that ends.
    third = Chain(instance="i3")
    with plane.store.write() as session:
        session.add(
            Batch(
                system="payments",
                sidecar="one",
                instance="i3",
                file=third.file,
                first=0,
                last=10,
                sha256="x",
                object="o",
                other_lines=1,
            )
        )
    taken(third.send(api, made := third.next(several(12), first_byte=10)), made)
    late = Chain("late", instance="i3")
    taken(late.send(api, made := late.next(several(20))), made)
    refused(late.send(api, late.peek(several(23), file="new.log", first_byte=5)), 409, "batch.gap")


def test_two_instances_of_one_sidecar_do_not_take_turns(api, plane):
    """Two copies with one name, or a thief who signs as it: each history holds by itself."""
    old, new = Chain(), Chain(instance="i2", file="000009.log")
    for chain, number in ((old, 0), (new, 3), (new, 6)):
        taken(chain.send(api, made := chain.next(several(number))), made)
    made = old.peek(several(9))
    refused(old.send(api, made), 409, "batch.fork")
    (found,) = breaks(api)
    assert (found["stops"], found["instance"], found["detail"]) == (
        True,
        "i1",
        "the instance i2 of this sidecar has begun since",
    )
    refused(new.send(api, new.peek(several(9))), 409, "lineage.broken")
    taken(old.send(api, old.made[0]), old.made[0])  # what is stored is acknowledged all the same
    assert clear(api, found["id"]).status_code == 200
    refused(old.send(api, made), 409, "batch.fork")
    assert clear(api, breaks(api)[0]["id"]).status_code == 200
    # As docs/lineage.md says: let the right one begin anew. Then the other one stands still.
    anew = Chain(instance="i3")
    taken(anew.send(api, made := anew.next(several(9))), made)
    refused(new.send(api, new.peek(several(9))), 409, "batch.fork")


def changed(made, old, new):
    assert old in made.raw
    return replace(made, raw=made.raw.replace(old, new, 1))


def predicate(made, **members):
    """The statement with members of its predicate replaced, signed as it then is."""
    document = json.loads(made.statement.statement())
    document["predicate"] |= members
    return replace(made, payload=json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def lines_of(made, order):
    lines = made.raw.splitlines(keepends=True)
    return replace(made, raw=b"".join(lines[number] for number in order))


def bomb(made, size):
    """A batch whose records decompress to `size` bytes."""
    packer = zlib.compressobj(9, wbits=31)
    packed = packer.compress(b"\n" * size) + packer.flush()
    return request(packed, made.salts, plain_evidence(made.statement.statement(), made.signer))


def with_member(made, **members):
    return made.body() | members


#: What is wrong with the batch after a good one, signed by the sidecar: how it is made, the status and the reason.
FAULTS = {
    "a changed byte": (lambda c, m: changed(m, b"job-17", b"job-18"), 409, "batch.root"),
    "a changed outcome": (lambda c, m: changed(m, b"true", b"null"), 409, "batch.root"),
    "reordered": (lambda c, m: lines_of(m, [1, 0, 2]), 409, "batch.root"),
    "a line dropped": (lambda c, m: lines_of(m, [0, 2]), 409, "batch.root"),
    "a line twice": (lambda c, m: lines_of(m, [0, 1, 1, 2]), 409, "batch.root"),
    "truncated": (lambda c, m: replace(m, raw=m.raw[:-40]), 409, "batch.root"),
    "no newline at the end": (lambda c, m: replace(m, raw=m.raw[:-1] + b" "), 409, "batch.root"),
    "nothing": (lambda c, m: replace(m, raw=b""), 409, "batch.root"),
    "lines joined": (lambda c, m: changed(m, b"\n", b" "), 409, "batch.root"),
    "another salt": (lambda c, m: replace(m, salts=bytes(16) + m.salts[16:]), 409, "batch.root"),
    "salts cut short": (lambda c, m: replace(m, salts=m.salts[:-1]), 409, "batch.root"),
    "salts too many": (lambda c, m: replace(m, salts=m.salts + bytes(16)), 409, "batch.root"),
    "not gzip": (lambda c, m: with_member(m, records=base64.b64encode(m.raw).decode()), 409, "batch.root"),
    "gzip cut short": (
        lambda c, m: with_member(m, records=base64.b64encode(gzip.compress(m.raw)[:-4]).decode()),
        409,
        "batch.root",
    ),
    "not base64": (lambda c, m: with_member(m, records="%" + m.body()["records"][1:]), 409, "batch.root"),
    "not even ASCII": (lambda c, m: with_member(m, salts="\u00e4" * 64), 409, "batch.root"),
    "a gzip bomb": (lambda c, m: bomb(m, 300 * 1024 * 1024), 409, "batch.root"),
    "another root": (lambda c, m: m.change(root="0" * 64), 409, "batch.root"),
    "one allow too many": (
        lambda c, m: m.change(allows=m.statement.allows + 1, denials=m.statement.denials - 1),
        409,
        "batch.root",
    ),
    "a denial that is no decision": (
        lambda c, m: m.change(denials=m.statement.denials - 1, others=1),
        409,
        "batch.root",
    ),
    "a policy more": (
        lambda c, m: m.change(policies=tuple(sorted([*m.statement.policies, "sha256:" + "9" * 64]))),
        409,
        "batch.root",
    ),
    "no library": (lambda c, m: m.change(libraries=()), 409, "batch.root"),
    "another state": (lambda c, m: m.change(states=("sha256:" + "9" * 64,)), 409, "batch.root"),
    "more bytes than there are": (lambda c, m: m.change(last_byte=m.statement.last_byte + 1), 409, "batch.root"),
    "fewer entries than there are": (
        lambda c, m: m.change(entries=2, allows=1, denials=1),
        409,
        "batch.root",
    ),
    "entries are missing": (lambda c, m: c.peek(m.raw, first_entry=c.entry + 1), 409, "batch.gap"),
    "bytes are missing": (lambda c, m: c.peek(m.raw, first_byte=c.byte + 1), 409, "batch.gap"),
    "a new file that does not begin at 0": (lambda c, m: c.peek(m.raw, file="x.log", first_byte=7), 409, "batch.gap"),
    "entries twice": (lambda c, m: c.peek(m.raw, first_entry=c.entry - 1), 409, "batch.fork"),
    "bytes twice": (lambda c, m: c.peek(m.raw, first_byte=c.byte - 1), 409, "batch.fork"),
    "the first batch again, otherwise": (
        lambda c, m: c.peek(m.raw, first_entry=0, first_byte=0, previous=None),
        409,
        "batch.fork",
    ),
    "the first batch, shorter": (
        lambda c, m: c.peek(lines_of(c.made[0], [0]).raw, first_entry=0, first_byte=0, previous=None),
        409,
        "batch.fork",
    ),
    "another history before it": (lambda c, m: c.peek(m.raw, previous="sha256:" + "8" * 64), 409, "batch.fork"),
    "of another sidecar": (lambda c, m: m.change(sidecar=sidecar_id("other")), 422, "batch.invalid"),
    "of another domain": (lambda c, m: m.change(sidecar=sidecar_id(c.name, domain="x")), 422, "batch.invalid"),
    "no predecessor": (lambda c, m: predicate(m, previous=None), 422, "batch.malformed"),
    "a member more": (lambda c, m: predicate(m, extra="1"), 422, "batch.malformed"),
    "a number that is no text": (lambda c, m: predicate(m, allows=2), 422, "batch.malformed"),
    "no entries": (lambda c, m: predicate(m, entries={"first": "3", "count": "0"}), 422, "batch.malformed"),
    "too many entries": (lambda c, m: predicate(m, entries={"first": "3", "count": "1001"}), 422, "batch.malformed"),
    "bytes beyond reason": (
        lambda c, m: predicate(m, bytes={"first": "0", "last": "9" * 17}),
        422,
        "batch.malformed",
    ),
    "a file that is a path": (lambda c, m: predicate(m, file="../x"), 422, "batch.malformed"),
    "not RFC 8785": (
        lambda c, m: replace(m, payload=m.statement.statement().replace(b'"_type":', b'"_type": ')),
        422,
        "batch.malformed",
    ),
    "another predicate": (
        lambda c, m: replace(m, payload=m.statement.statement().replace(b"decision-batch/v1", b"decision-batch/v2")),
        422,
        "batch.malformed",
    ),
}


def test_what_a_sidecar_signed_and_does_not_fit_stops_it_until_a_person_clears_it(api, plane):
    for number, (fault, (make, status, reason)) in enumerate(FAULTS.items()):
        chain = Chain(f"s{number}")
        taken(chain.send(api, made := chain.next(several(0))), made)
        before = stored(plane)
        good = chain.peek(several(3))
        bad = make(chain, good)
        bad = bad if isinstance(bad, dict) else bad.body()

        refused(chain.send(api, bad), status, reason)
        (found,) = [one for one in breaks(api) if one["sidecar"] == chain.name]
        assert (found["kind"], found["stops"], found["cleared_at"]) == (reason, True, None), fault
        kept = plane.objects.get(found["object"])
        assert (json.loads(kept), sha256(kept).hexdigest()) == (bad, found["sha256"]), fault
        assert stored(plane) == before, fault

        # Nothing of it is taken now, good or bad, and nothing more is kept; what was taken is answered as before.
        for body in (good, bad):
            refused(chain.send(api, body), 409, "lineage.broken")
        taken(chain.send(api, made), made)
        assert len([one for one in breaks(api) if one["sidecar"] == chain.name]) == 1, fault

        # Cleared, it must still follow the last good one.
        assert clear(api, found["id"]).status_code == 200
        taken(chain.send(api, good), good)
    assert len(breaks(api, cleared="true")) == len(FAULTS)


def test_whoever_replays_is_told_which_opa_the_batch_names(api):
    chain = Chain()
    taken(chain.send(api, made := chain.next(several(0))), made)
    head, *_ = api.get("/api/v1/decisions/records").content.split(b"\n")
    assert {item["opa"] for item in json.loads(head)["items"]} == {OPA}
    [first, *_] = api.get("/api/v1/decisions").json()["items"]
    assert api.get(f"/api/v1/decisions/{first['decision_id']}").json()["signed"]["opa"] == OPA


def test_the_batch_that_a_break_keeps_is_given_as_it_came(api, plane):
    chain = Chain()
    bad = chain.peek(several(0)).body() | {"salts": ""}
    refused(chain.send(api, bad), 409, "batch.root")
    [found] = breaks(api)
    path = f"{BREAKS}/{found['id']}/batch"
    answer = api.get(path)
    assert (answer.status_code, json.loads(answer.content)) == (200, bad)
    assert sha256(answer.content).hexdigest() == found["sha256"]
    assert api.with_token("system:read").get(path).status_code == 403  # it holds records
    api.create_system("ledger")
    assert api.with_token("decision:read", system="ledger").get(path).status_code == 404
    assert api.with_token("decision:read", system="payments").get(path).content == answer.content
    plane.objects.put(found["object"], b"{}")
    assert api.get(path).status_code == 422
    plane.objects.remove(found["object"])
    assert api.get(path).status_code == 404
    assert api.get(f"{BREAKS}/99/batch").status_code == 404


def test_a_gap_that_is_still_there_breaks_again(api):
    chain = Chain()
    taken(chain.send(api, made := chain.next(several(0))), made)
    late = chain.peek(several(6), first_entry=9)
    refused(chain.send(api, late), 409, "batch.gap")
    assert clear(api, breaks(api)[0]["id"]).status_code == 200
    refused(chain.send(api, late), 409, "batch.gap")
    (again,) = breaks(api)
    assert again["kind"] == "batch.gap"
    assert clear(api, again["id"]).status_code == 200
    fresh = Chain(instance="i2", file=chain.file, byte=late.statement.last_byte)
    taken(fresh.send(api, made := fresh.next(several(9))), made)


def unproved(chain, made):
    """Bodies that no signature of the sidecar stands behind, with the reason that each gets."""
    payload = made.statement.statement()
    body = made.body()
    others = sidecar_id("other")
    yield replace(made, signer=others).body(), "batch.invalid"
    yield (
        replace(made, evidence=plain_evidence(payload, made.signer, issuer="https://i.example")).body(),
        "batch.invalid",
    )
    yield Chain("other").next(made.raw).body(), "batch.invalid"
    yield body | {"evidence": "no JSON"}, "batch.invalid"
    yield body | {"evidence": "{}"}, "batch.invalid"
    yield body | {"evidence": "[]"}, "batch.invalid"
    yield body | {"evidence": "[" * 100_000}, "batch.invalid"
    yield body | {"evidence": plain_evidence(b"no statement", made.signer).decode()}, "batch.invalid"
    yield bomb(replace(made, signer=others), 300 * 1024 * 1024), "batch.invalid"
    yield {name: value for name, value in body.items() if name != "salts"}, "batch.malformed"
    yield body | {"more": ""}, "batch.malformed"
    yield body | {"salts": None}, "batch.malformed"
    yield [body], "batch.malformed"


def test_what_the_sidecar_did_not_sign_is_kept_and_stops_nobody(api, plane, monkeypatch):
    chain = Chain()
    taken(chain.send(api, made := chain.next(several(0))), made)
    wrong = list(unproved(chain, chain.peek(several(3))))
    with monkeypatch.context() as nothing:
        nothing.setattr(batch_reading, "decompress", None)  # nothing is decompressed before the signature holds
        for body, reason in wrong:
            refused(api.post(chain.path, json=body), 422, reason)
    raw = [b"", b"no JSON", b'{"records": "", "records": ""}', b"\xff", b'{"salts": "\\ud800"}', b"{" * 100_000]
    raw += [
        b'{"records": "", "salts": "", "evidence": "\\ud800"}',
        b'{"records": [[],[]], "salts": "", "evidence": ""}',
    ]
    raw += [json.dumps(made.body() | {"evidence": "[" + "[]," * (MAX_EVIDENCE // 3) + "[]]"}).encode()]
    for body in raw:
        refused(api.post(chain.path, content=body), 422, "batch.malformed")
    found = breaks(api)
    assert len(found) == len(wrong) + len(raw)
    assert {one["stops"] for one in found} == {False}
    for one in found:
        assert sha256(plane.objects.get(one["object"])).hexdigest() == one["sha256"]
    for body, reason in wrong:
        refused(api.post(chain.path, json=body), 422, reason)
    assert len(breaks(api)) == len(found), "the same again is only counted"
    taken(chain.send(api, made := chain.next(several(3))), made)
    assert clear(api, found[0]["id"]).status_code == 200


def test_a_large_body_of_small_values_is_refused_before_they_are_made():
    """Whoever may send for a sidecar could else stop the whole control plane for seconds with one request."""
    for value in ("[]", "{}", "0"):
        many = f"[{','.join([value] * 600_000)}]"
        texts = {"records": "", "salts": "", "evidence": ""}
        for body in (f'{{"records": {many}}}', many, f'{{"more": {many}}}', json.dumps(texts | {"evidence": many})):
            tracemalloc.start()
            with pytest.raises(Denied) as denied:
                Offer.read(body.encode())
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert denied.value.reason == Reason.BATCH_MALFORMED
            assert peak < 4 * len(body)


def test_old_evidence_in_a_thiefs_hands_breaks_nobody(api, plane):
    """Every proof file holds a batch's evidence; with a stolen token it can be sent again, with other records."""
    chain = Chain()
    for first in (0, 3):
        taken(chain.send(api, made := chain.next(several(first))), made)
    refused(chain.send(api, changed(chain.made[0], b"job-17", b"job-18")), 409, "batch.root")
    assert [one["stops"] for one in breaks(api)] == [False]
    taken(chain.send(api, made := chain.next(several(6))), made)


def test_what_is_kept_is_bounded(api, plane, monkeypatch):
    monkeypatch.setattr(lineage, "MAX_KEPT", 3)
    monkeypatch.setattr(lineage, "MAX_KEPT_OF_SYSTEM", 5)
    monkeypatch.setattr(lineage, "MAX_UNPROVED", 1000)
    for name in ("one", "two", "three"):
        for number in range(5):
            refused(api.post(Chain(name).path, content=b"x" * number), 422, "batch.malformed")
    refused(api.post(Chain("two").path, content=b"x" * 1001), 422, "batch.malformed")
    found = breaks(api)
    assert sorted(one["sidecar"] for one in found) == ["one"] * 3 + ["two"] * 2
    assert clear(api, found[0]["id"]).status_code == 200
    refused(api.post(Chain("two").path, content=b"x" * 1001), 422, "batch.malformed")
    assert breaks(api)[0]["object"] is None, "too long to be kept"
    # The sidecar's own break is kept all the same.
    chain = Chain("three")
    refused(chain.send(api, chain.peek(several(0), first_entry=5, previous="sha256:" + "1" * 64)), 409, "batch.gap")
    assert breaks(api)[0]["stops"] is True
    assert 'placet_batches_refused_total{reason="batch.malformed",system="payments"} 17.0' in api.get("/metrics").text


def test_who_may_not_send_breaks_nothing(api, anonymous, plane):
    api.create_system("ledger")
    chain = Chain()
    body = chain.peek(several(0), first_entry=5, previous="sha256:" + "1" * 64).body()
    reader, other = api.with_token("decision:read"), api.with_token("record:write", system="ledger")
    assert anonymous.post(chain.path, json=body).status_code == 401
    assert reader.post(chain.path, json=body).status_code == 403
    assert other.post(chain.path, json=body).status_code == 403
    assert api.post(chain.path.replace("payments", "nobody"), json=body).status_code == 404
    assert api.post(chain.path.replace("one", "A"), json=body).status_code == 422
    assert rows(plane, LineageBreak) == []


def test_an_evicted_sidecar_ships_nothing(api, plane, monkeypatch):
    chain = Chain()
    taken(chain.send(api, made := chain.next(several(0))), made)
    admin = Access("x" * 12, "somebody", frozenset({Scope.ADMIN}), None)
    put = batches._put

    def evicted_meanwhile(*arguments):
        with plane.store.write() as session:
            evict(session, admin, "payments", "one", "its host was stolen")
        return put(*arguments)

    monkeypatch.setattr(batches, "_put", evicted_meanwhile)
    refused(chain.send(api, made := chain.peek(several(3))), 403, "sidecar.evicted")
    monkeypatch.undo()
    spoilt = [replace(made, signer=sidecar_id("two")), replace(made, payload=b"{}"), {"records": ""}]
    for body in (made, chain.peek(several(3), first_entry=7), chain.made[0], *spoilt):
        refused(chain.send(api, body), 403, "sidecar.evicted")
    assert (stored(plane), rows(plane, LineageBreak)) == ((1, 3), [])


def test_a_batch_takes_few_statements_however_many_records_it_has(plane):
    """What a batch costs counts as much as a record: sidecars with few decisions send one a second."""
    chain = Chain()
    later = record("d-later", at="2026-01-31T12:00:01Z")
    made = [chain.next(several(0)), chain.next(several(3, 1)), chain.next(several(4, 600)), chain.next(later)]
    send = partial(batches.take, plane, "payments", "one")
    send(json.dumps(made[0].body()).encode())
    said, own = [], threading.get_ident()

    def note(_connection, _cursor, statement, *_):
        if threading.get_ident() == own and not statement.startswith("BEGIN"):
            said.append(statement)

    event.listen(plane.store.engine, "before_cursor_execute", note)
    # PostgreSQL has a lock and two COPYs, which are not told here, in the place of SQLite's rows.
    number = 8 if plane.store.engine.dialect.name == "postgresql" else 9
    for one in made[1:]:
        said.clear()
        send(json.dumps(one.body()).encode())
        # Decisions that are later than all before were never sent: of others one statement asks.
        assert len(said) == number - (one is made[-1]), said


def test_poison_stops_no_batch_and_every_line_can_be_proved(api, plane):
    give_release(plane)
    deep = record("deep").replace(b'"in-7"', b"[" * 9_000 + b"]" * 9_000)
    odd = [line.replace(b'"odd"', b'"odd%d"' % number) for number, line in enumerate(POISON.values())]
    lines = [*odd, deep, b"\n", b'{"type": "openpol\n', b"\xff\xfe\n", b"null\n", b"{" * 5000 + b"\n"]
    body = record("before") + b"".join(lines) + record("after")
    chain = Chain()
    taken(chain.send(api, made := chain.next(body)), made)
    (batch,) = rows(plane, Batch)
    assert raw_records.entries(plane.objects, batch) == body[:-1].split(b"\n")
    decisions = rows(plane, Decision)
    assert len({decision.decision_id for decision in decisions}) == len(odd) + 5
    entries = body.split(b"\n")
    for decision in decisions:
        answer = api.get(f"/api/v1/decisions/{decision.decision_id}/proof")
        assert answer.status_code == 200, answer.text
        proof = Proof.read(answer.content)
        assert (proof.record, proof.index) == (entries[proof.index], decision.position)


def test_many_at_once_store_each_batch_once(api, plane):
    chain = Chain()
    made = chain.next(b"".join(several(100 * number, 100) for number in range(2)))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: chain.send(api, made), range(8)))
    for answer in answers:
        taken(answer, made)
    assert stored(plane) == (1, 200)
    forks = [chain.peek(several(200)) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda one: chain.send(api, one), forks))
    reasons = sorted(answer.json().get("reason", "") for answer in answers)
    # One is stored; one breaks the lineage, perhaps before it; the others find it broken.
    assert reasons.count("batch.fork") == 1
    assert set(reasons) <= {"", "batch.fork", "lineage.broken"}
    assert stored(plane) == (2, 203)
    assert [one["stops"] for one in breaks(api)] == [True]


def test_unsigned_records_are_refused_and_signed_ones_need_a_log(api, plane):
    refused(api.ship(record()), 409, "record.unsigned")
    assert stored(plane) == (0, 0)
    object.__setattr__(plane, "verify_batch", None)
    answer = api.post(Chain().path, json=Chain().next(several(0)).body())
    assert (answer.status_code, "no lineage log" in answer.json()["detail"]) == (409, True)
    assert api.ship(record("d1")).status_code == 200
    refused(api.get("/api/v1/decisions/d1/proof"), 404, "proof.missing")
    assert api.get("/api/v1/decisions/d1").json()["signed"] is None
    object.__setattr__(plane, "verify_batch", verify_batch_plain)
    object.__setattr__(plane, "identity_issuer", "")
    assert "identities" in api.post(Chain().path, json=Chain().next(several(0)).body()).json()["detail"]
    assert rows(plane, LineageBreak) == []


def test_nothing_is_acknowledged_that_is_not_durable(api, plane, monkeypatch):
    import obstore
    from obstore.exceptions import GenericError
    from sqlalchemy.exc import OperationalError

    chain = Chain()
    made = chain.next(several(0))

    def full(*_):
        raise GenericError("No space left on device (os error 28)")

    def down(*_):
        raise OperationalError("INSERT", {}, Exception("server closed the connection unexpectedly"))

    with monkeypatch.context() as failing:
        failing.setattr(obstore, "put", full)
        assert chain.send(api, made).status_code == 503
        # A break that cannot be kept is no break yet: the same request comes again.
        assert chain.send(api, chain.peek(several(3), first_entry=50)).status_code == 503
    with monkeypatch.context() as failing:
        failing.setattr(records, "insert", down)
        assert chain.send(api, made).status_code == 503
    assert (stored(plane), breaks(api)) == ((0, 0), [])
    taken(chain.send(api, made), made)


def test_a_break_is_cleared_by_name_with_a_reason(api, plane, caplog):
    api.create_system("ledger")
    for system in ("payments", "ledger"):
        chain = Chain(system=system)
        refused(chain.send(api, chain.peek(several(0), first_entry=4, previous="sha256:" + "1" * 64)), 409, "batch.gap")
    assert "lineage break 1 stops payments/one: batch.gap: entries 0 to 4 are missing" in caplog.text
    ours = next(one for one in breaks(api) if one["system"] == "payments")
    person = api.with_token("system:write", "system:read", system="payments", name="Ada L.")
    assert [one["system"] for one in breaks(person)] == ["payments"]
    assert breaks(api, system="ledger")[0]["system"] == "ledger"
    assert person.get(BREAKS, params={"system": "ledger"}).status_code == 403
    theirs = next(one for one in breaks(api) if one["system"] == "ledger")
    assert clear(person, theirs["id"]).status_code == 404
    assert clear(person, 4711).status_code == 404
    for reason in ("", "  ", "a\nb", "x" * 1001):
        assert clear(person, ours["id"], reason).status_code == 422
    assert person.post(f"{BREAKS}/{ours['id']}/clear", json={}).status_code == 422
    assert clear(api.with_token("record:write", "system:read"), ours["id"]).status_code == 403
    answer = clear(person, ours["id"], "the spool was lost; incident 31")
    assert answer.status_code == 200
    assert (answer.json()["cleared_by"], answer.json()["reason"]) == ("Ada L.", "the spool was lost; incident 31")
    assert "cleared by Ada L.: the spool was lost; incident 31" in caplog.text
    again = clear(person, ours["id"])
    assert (again.status_code, "Ada L." in again.json()["detail"]) == (409, True)
    assert [one["id"] for one in breaks(person, cleared="true")] == [ours["id"]]
    assert 'placet_lineage_breaks_total{reason="batch.gap",system="payments"} 1.0' in api.get("/metrics").text


def test_a_proof_of_what_was_changed_in_the_store_is_not_given_out(api, plane):
    chain = Chain()
    taken(chain.send(api, made := chain.next(several(0))), made)
    give_release(plane)
    (batch,) = rows(plane, Batch)
    for key, at, reason in (
        (batch.object, 1, "proof.leaf"),
        (batch.salts, 0, "proof.leaf"),
        (batch.leaves, 40, "proof.path"),
    ):
        whole = bytearray(plane.objects.get(key))
        whole[at] ^= 1
        plane.objects.put(key, bytes(whole))
        refused(api.get("/api/v1/decisions/d0/proof"), 422, reason)
        whole[at] ^= 1
        plane.objects.put(key, bytes(whole))
    bound = api.with_token("decision:read", system="payments")
    api.create_system("ledger")
    other = api.with_token("decision:read", system="ledger")
    assert bound.get("/api/v1/decisions/d0/proof").status_code == 200
    assert other.get("/api/v1/decisions/d0/proof").status_code == 404
    assert api.with_token("record:write").get("/api/v1/decisions/d0/proof").status_code == 403


def test_states_are_archived_by_digest(api):
    document = b'{"issuers":{},"a":123456789012345678901}'
    digest = "sha256:" + sha256(document).hexdigest()
    path = f"/api/v1/systems/payments/states/{digest}"
    for _ in range(2):
        assert api.put(path, content=document).status_code == 204
    assert api.get(path).content == document
    assert api.get(path.replace(digest, "sha256:" + "0" * 64)).status_code == 404
    assert api.put(path, content=document + b" ").status_code == 422
    no_object = b"[]"
    other = f"/api/v1/systems/payments/states/sha256:{sha256(no_object).hexdigest()}"
    assert api.put(other, content=no_object).status_code == 422
    assert api.put(path.replace("sha256:", "sha512:"), content=document).status_code == 422
    assert api.put(path.replace("payments", "nobody"), content=document).status_code == 404
    assert api.put(path, content=b"x" * (1024 * 1024 + 1)).status_code == 413
    assert api.put(path, content=b"x" * (256 * 1024 + 1)).status_code == 413
    sidecar = api.with_token("record:write", system="payments")
    assert sidecar.put(path, content=document).status_code == 204
    assert sidecar.get(path).status_code == 403


def test_bodies_are_bounded(api):
    assert api.post(Chain().path, content=b" " * (MAX_BODY + 1)).status_code == 413


def test_the_pages_show_breaks_and_proofs(api, anonymous, plane):
    from .test_web import logged_in, page

    chain = Chain()
    taken(chain.send(api, made := chain.next(several(0))), made)
    refused(chain.send(api, chain.peek(several(3), first_entry=9)), 409, "batch.gap")
    refused(api.post(Chain("<b>".strip("<>") + "x").path, content=b"junk"), 422, "batch.malformed")
    browser = logged_in(anonymous, api.token)
    text = page(browser, "/sidecars").text
    assert 'role="alert"><strong>payments · one</strong> stands still since' in text
    assert "<code>batch.gap</code> entries 3 to 9 are missing" in text
    assert "that no sidecar signed" in text
    text = page(browser, "/decisions/d1").text
    assert "entry 1 of this instance, in the batch of 3 from 0" in text
    assert made.statement.root in text
    assert 'href="/decisions/d1/proof" download' in text
    assert page(browser, "/decisions/d1/proof", 404).text.count("is no release here") == 1
    give_release(plane)
    answer = browser.get("/decisions/d1/proof")
    assert (answer.status_code, "attachment" in answer.headers["content-disposition"]) == (200, True)
    assert answer.content == api.get("/api/v1/decisions/d1/proof").content
    clear(api, breaks(api)[0]["id"])
    assert "stands still" not in page(browser, "/sidecars").text


def test_no_start_forgets_the_lineage_log_that_the_settings_name(installed):
    file = installed.directory / "settings.json"
    assert Settings.load(installed.directory).lineage_trust is None
    for named, meant in (
        ("lineage/trust.json", installed.directory / "lineage/trust.json"),
        ("/x.json", Path("/x.json")),
    ):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"lineage_trust_config": named}))
        assert Settings.load(installed.directory).lineage_trust == meant
