"""The story of an execution: of what a control plane stored, and of the object store alone, which must be the same."""

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import delete, select

from app.control import (
    erasing,
    erasing_worker,
    execution_lineage,
    execution_proofs,
    lineage_objects,
    lineage_rows,
    raw_records,
)
from app.control.execution_lineage import Wanted
from app.control.fsck.claims import Signers
from app.control.lineage_archive import ArchiveEvidence
from app.control.links import object_key
from app.control.objects import Objects
from app.control.plane import DEFAULT_IDENTITY_ISSUER
from app.control.sidecar_statement import payload_of
from app.control.store import Batch, BatchValue, Decision, Link, LinkResource
from app.core import execution_evidence, graph, merkle, record_frames
from app.core.errors import Denied
from app.core.graph_dot import dot
from app.core.link_names import Ref, decision_ref, payload_digest

from .batch_kit import DOMAIN, Chain, give_release, plain_evidence, verify_batch_plain
from .conftest import record, verify_statement_plain
from .link_kit import EXECUTION, POLICY, STATE, Journal, digest
from .test_web import logged_in, page

PATH = f"/api/v1/executions/{EXECUTION}/lineage"
OTHER = "execution-of-billing"


@pytest.fixture
def plane(signed_plane):
    return signed_plane


def inside(decision_id, execution=EXECUTION, at="2026-01-31T12:00:04.5Z", **more):
    request = {"action": {"name": "refund"}, "resource": {"type": "invoice", "id": decision_id}}
    whole = json.loads(record(decision_id, at=at, input=request | {"execution": {"id": execution}}, **more))
    whole["result"] = whole["result"] | {"execution": execution}
    return json.dumps(whole).encode() + b"\n"


def ref_of(made, decision_id):
    """How a link names a decision of this batch."""
    entries = made.raw[:-1].split(b"\n")
    number = next(at for at, one in enumerate(entries) if json.loads(one)["decision_id"] == decision_id)
    salt = made.salts[16 * number : 16 * number + 16]
    return decision_ref(decision_id, merkle.leaf_hash(salt, entries[number]))


class World:
    """Two systems: what an execution of `payments` made, one of `billing` took."""

    def __init__(self, api, plane):
        self.api, self.plane = api, plane
        for name in ("payments", "billing"):
            api.create_system(name)
        give_release(plane)
        api.put(f"/api/v1/systems/payments/states/{STATE}", content=b"{}")
        chain = Chain()
        self.first = chain.next(inside("d1", at="2026-01-31T12:00:01Z") + record("d0") + inside("d2"))
        self.second = chain.next(inside("d3", allow=False) + inside("d4", "execution-of-nobody"))
        for made in (self.first, self.second):
            assert chain.send(api, made).status_code == 200
        self.journal = journal = Journal()
        journal.trust()
        journal.enforce()
        out = Ref("artifact/report.pdf", digest("report"))
        journal.start(decisions=[ref_of(self.first, "d1")], warrants=[Ref("warrant/w1", digest("token"))])
        self.load = journal.step("load", materials=[Ref("artifact/orders.csv", digest("orders"))])
        journal.lease()
        journal.step("write", products=[out], materials=[ref_of(self.second, "d3")], facts={"exit": "0"})
        journal.end()
        self.other = Journal("two", "billing", "i9")
        self.other.start(OTHER)
        parent = Ref("link/parent", payload_digest(self.load.statement()))
        self.other.step("send", OTHER, materials=[out, parent], products=[Ref("artifact/mail", digest("mail"))])
        third = Journal("two", "payments", "i7")
        third.start("execution-without-any-tie")
        for one in (journal, self.other, third):
            one.send_all(api)

    def get(self, path=PATH, **query):
        answer = self.api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def archive(self):
        """What the object store alone says."""
        signers = Signers(DOMAIN, (DEFAULT_IDENTITY_ISSUER,), verify_batch_plain)
        return ArchiveEvidence(Objects(self.plane.settings.objects_url), verify_statement_plain, signers)

    def from_log(self, identifier=EXECUTION, depth=1, **place):
        return graph.encode(
            execution_lineage.of(self.archive(), identifier, wanted=Wanted(**place), depth=depth)
        )  # fmt: skip


@pytest.fixture
def world(api, plane):
    return World(api, plane)


def what(document):
    return [(one["what"], one.get("decision") or one.get("step") or one.get("reason")) for one in document["story"]]


def test_the_story_is_told_in_order(world):
    found = world.get()
    assert what(found) == [
        ("release/signed", None),
        ("release/enforce", None),
        ("decision", "d1"),
        ("execution/start", None),
        ("execution/step", "load"),
        ("decision", "d2"),
        ("lease/withdrawn", "lineage.broken"),
        ("decision", "d3"),
        ("execution/step", "write"),
        ("execution/end", None),
    ]
    execution = found["execution"]
    assert (execution["id"], execution["system"], execution["sidecar"]) == (EXECUTION, "payments", world.journal.signer)
    assert (execution["outcome"], execution["steps"], execution["ended_at"]) == (
        "completed",
        "2",
        "2026-01-31T12:00:06Z",
    )
    assert execution["subject"] == {"issuer": "https://tokens.example.org", "id": "job-17"}
    links = [one["digest"] for one in found["links"]]
    own = [one for one in world.journal.made if one.execution]
    assert links == [payload_digest(one.statement()) for one in own]
    story = {one.get("decision"): one for one in found["story"] if one["what"] == "decision"}
    assert [story[name]["named_by"] for name in ("d1", "d2", "d3")] == [links[0], None, links[2]]
    assert (story["d3"]["outcome"], story["d3"]["reasons"], story["d3"]["sequence"]) == ("deny", ["policy.denied"], "3")
    assert [one["missing"] for one in found["story"] if "missing" in one] == [[]] * 5
    assert found["story"][-2]["facts"] == {"exit": "0"} and found["story"][-2]["made"] == ["report.pdf"]


def test_the_graph_joins_executions_of_several_systems_by_what_they_made_and_took(world):
    found = world.get()
    nodes = {one["digest"]: one for one in found["nodes"]}
    edges = {(one["from"], one["to"], one["kind"]) for one in found["edges"]}
    assert {end for edge in edges for end in edge[:2]} <= set(nodes)
    write, send = (payload_digest(one.made[-2 if one is world.journal else -1].statement()) for one in
                   (world.journal, world.other))  # fmt: skip
    assert {(write, digest("report"), "product"), (digest("report"), send, "material")} <= edges
    assert (payload_digest(world.load.statement()), send, "parent") in edges
    assert [(one["id"], one["system"]) for one in found["executions"]] == [(OTHER, "billing")]
    leaf = ref_of(world.first, "d1").digest
    assert nodes[leaf]["type"] == "decision" and nodes[leaf]["known"] is True
    assert {(POLICY, leaf, "rests-on"), (STATE, leaf, "rests-on")} <= edges
    assert nodes[digest("orders")] == {
        "digest": digest("orders"), "type": "artifact", "known": False, "names": ["artifact/orders.csv"],
    }  # fmt: skip
    assert nodes[digest("token")]["type"] == "warrant"


@pytest.mark.parametrize(("depth", "executions"), [(0, []), (1, [OTHER]), (3, [OTHER])])
def test_depth_bounds_what_is_followed(world, depth, executions):
    found = world.get(depth=depth)
    assert [one["id"] for one in found["executions"]] == executions
    back = world.get(f"/api/v1/executions/{OTHER}/lineage", depth=depth)
    assert [one["id"] for one in back["executions"]] == ([EXECUTION] if depth else [])


def test_a_token_of_one_system_sees_nothing_of_others(world):
    bound = world.api.with_token("decision:read", system="payments")
    found = bound.get(PATH).json()
    assert found["executions"] == [] and "billing" not in json.dumps(found)
    assert bound.get(f"/api/v1/executions/{OTHER}/lineage").status_code == 404
    assert bound.get(PATH, params={"system": "billing"}).status_code == 403
    blind = world.api.with_token("system:read", system="payments", name="blind")
    assert blind.get(PATH).status_code == 403


def test_an_id_that_stands_in_several_places_must_be_said_with_its_place(world):
    twin = Journal("two", "billing", "i10")
    twin.start(EXECUTION)
    twin.send_all(world.api)
    answer = world.api.get(PATH)
    assert answer.status_code == 409 and "billing/two/i10" in answer.json()["detail"]
    assert world.get(system="billing")["execution"]["instance"] == "i10"
    assert world.get(sidecar="one", instance="i1")["execution"]["system"] == "payments"


@pytest.mark.parametrize(("path", "status"), [(PATH[:-16] + "e" * 16 + "/lineage", 404), (PATH + "?depth=9", 422)])
def test_bad_questions_get_clear_answers(api, path, status):
    answer = api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_with_an_empty_database_the_answer_is_the_same_byte_for_byte(world, depth):
    stored = [world.api.get(path, params={"depth": depth}).content for path in (PATH, PATH.replace(EXECUTION, OTHER))]
    with world.plane.store.write() as session:
        for table in (LinkResource, Link, Decision, BatchValue, Batch):
            session.exec(delete(table))
    assert world.api.get(PATH).status_code == 404
    assert [world.from_log(depth=depth), world.from_log(OTHER, depth)] == stored


def test_a_running_execution_tells_what_happens_until_now(world):
    journal = Journal("three", "payments", "i3")
    journal.start("execution-that-goes-on")
    journal.lease()
    journal.send_all(world.api)
    found = world.get("/api/v1/executions/execution-that-goes-on/lineage")
    assert (found["execution"]["outcome"], found["execution"]["ended_at"]) == (None, None)
    assert [one["what"] for one in found["story"]][-2:] == ["execution/start", "lease/withdrawn"]
    assert world.from_log("execution-that-goes-on") == world.api.get(
        "/api/v1/executions/execution-that-goes-on/lineage"
    ).content  # fmt: skip


def test_a_decision_that_no_batch_holds_as_the_link_says_is_named(world):
    journal = Journal("three", "payments", "i3")
    journal.start("execution-that-goes-on", decisions=[Ref("decision/d1", digest("another leaf"))])
    journal.send_all(world.api)
    found = world.get("/api/v1/executions/execution-that-goes-on/lineage")
    assert [one["missing"] for one in found["story"] if one["what"] == "execution/start"] == [["d1"]]
    [node] = [one for one in found["nodes"] if one["digest"] == digest("another leaf")]
    assert (node["type"], node["known"]) == ("decision", False)


def test_what_was_changed_in_the_store_is_not_given_out(world):
    with world.plane.store.read() as session:
        row = session.exec(select(Link).where(Link.execution == EXECUTION, Link.number == 3)).one()
        batch = session.exec(select(Batch).where(Batch.first_entry == 0)).one()
    objects = world.plane.objects
    for key, reason in ((row.object, "link."), (batch.leaves, "proof.path")):
        body = objects.get(key)
        objects.put(
            key,
            body.replace(b'"logIndex": "3"', b'"logIndex": "4"')
            if key.endswith(".json")
            else body[:-1] + bytes([body[-1] ^ 1]),
        )
        answer = world.api.get(PATH)
        assert answer.json()["reason"].startswith(reason), answer.text
        objects.put(key, body)
    assert world.api.get(PATH).status_code == 200


@pytest.mark.parametrize("fault", ["removed", "of another", "signed by another"])
def test_from_the_log_a_journal_must_be_whole(world, fault):
    objects = world.plane.objects
    names = sorted(key for key, _ in objects.keys("links/payments/one"))
    body = objects.get(names[3])
    if fault == "removed":
        (world.plane.settings.directory / "objects" / names[3]).unlink()
        reason = "link.gap"
    elif fault == "of another":
        objects.put(names[3].replace("/i1/", "/i2/"), body)
        twin = json.loads(world.journal.body(world.journal.peek_twin())["evidence"])
        objects.put(names[3] + ".json", json.dumps(twin).encode())
        reason = "link.fork"
    else:
        objects.put(names[3], body.replace(b"sidecar/payments/one", b"sidecar/payments/two", 1))
        reason = "link.invalid"
    with pytest.raises(Denied) as denied:
        world.from_log()
    assert str(denied.value.reason) == reason


@pytest.fixture
def browser(anonymous, api):
    return logged_in(anonymous, api.token)


def test_the_page_tells_the_story_and_what_came_of_what(world, browser):
    hostile = Journal("four", "payments", "i4")
    hostile.start("execution-of-a-hostile-caller")
    hostile.step(
        "load", "execution-of-a-hostile-caller", materials=[Ref("artifact/<script>alert(1)</script>", digest("orders"))]
    )
    hostile.send_all(world.api)
    text = page(browser, f"/executions/{EXECUTION}").text
    for shown in ("execution/start", "report.pdf", "orders.csv", "/decisions/d1", "completed", OTHER, "billing",
                  "lineage.broken", "artifact/&lt;script&gt;", f"/decisions?execution={EXECUTION}"):  # fmt: skip
        assert shown in text, shown
    assert "<script>alert" not in text
    assert f"/executions/{EXECUTION}?system=payments" in page(browser, "/decisions/d1").text
    proof = browser.get(f"/executions/{EXECUTION}/proof?system=payments&sidecar=one&instance=")
    assert proof.headers["content-type"] == "application/json", proof.text
    assert len(proof.json()["links"]) == 4


def test_the_page_of_an_execution_without_statements_leads_to_its_decisions(world, browser):
    text = page(browser, "/executions/execution-of-nobody").text
    assert "no sidecar has stated anything" in text and "/decisions?execution=execution-of-nobody" in text


def test_the_graph_in_graphviz_language_holds_every_node_and_edge_and_quotes_what_callers_say(world):
    found = world.get()
    found["nodes"][0]["names"] = ['a "quoted"\\ name\n];}']
    text = dot(found)
    ends = re.findall(
        r'^  "(sha256:[0-9a-f]{64})"(?: -> "(sha256:[0-9a-f]{64})")? \[label="(?:[^"\\]|\\.)*", ', text, re.M
    )
    assert [one for one, other, *_ in ends if not other] == [one["digest"] for one in found["nodes"]]
    assert [one[:2] for one in ends if one[1]] == [(one["from"], one["to"]) for one in found["edges"]]
    assert len(text.splitlines()) == 4 + len(ends)


def test_an_erased_record_is_told_by_its_leaf_alone_and_stays_proved(world, monkeypatch):
    monkeypatch.setattr(erasing_worker.Erasing, "_round", lambda self: False)  # each step is taken here
    # Until the old objects are gone, they are what the object store alone still says.
    monkeypatch.setattr(erasing, "GRACE", timedelta(0))
    order = {"reason": "request 17", "dry_run": False, "decisions": ["d2", "d3"]}
    answer = world.api.post("/api/v1/erasures", json=order)
    assert answer.status_code == 202, answer.text
    erasing.step(world.plane)
    found = world.get()
    told = {one["decision"]: one for one in found["story"] if one["what"] == "decision"}
    assert sorted(told) == ["d1", "d3"]  # nothing says any more that d2 was of this execution
    assert (told["d3"]["outcome"], told["d3"]["leaf"]) == ("erased", ref_of(world.second, "d3").digest)
    assert told["d3"]["subject"] == {"issuer": None, "id": None}
    assert world.from_log() == world.api.get(PATH).content
    proof = world.api.get(PATH.replace("lineage", "proof")).json()
    assert sorted(one["record"] is None for one in proof["decisions"]) == [False, True]


def test_a_list_tells_why_an_execution_was_stopped(world, browser):
    journal = Journal("six", "payments", "i6")
    journal.start("execution-that-is-stopped")
    journal.end("execution-that-is-stopped", outcome="stopped", reason="identity.key_unknown")
    journal.send_all(world.api)

    def told():
        one = world.get("/api/v1/executions", limit=1)["items"][0]
        return one["execution"], one["outcome"], one["reason"]

    assert told() == ("execution-that-is-stopped", "stopped", "identity.key_unknown")
    assert "stopped <code>identity.key_unknown</code>" in page(browser, "/executions/stated").text
    with world.plane.store.read() as session:
        ends = Link.execution == "execution-that-is-stopped", Link.number == 1
        key = session.exec(select(Link).where(*ends)).one().object
    evidence = world.plane.objects.get(key)
    world.plane.objects.put(key, evidence + b" ")
    assert told() == ("execution-that-is-stopped", "unreadable", None)
    world.plane.objects.remove(key)
    assert told() == ("execution-that-is-stopped", "unreadable", None)
    assert world.get("/api/v1/executions")["items"][-1]["outcome"] == "completed", "others are told all the same"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_a_list_reads_how_those_ended_that_are_in_it(world, monkeypatch):
    for instance in ("i7", "i8", "i9"):  # which call theirs as ours is called
        other = Journal("seven", "billing", instance)
        other.start(EXECUTION)
        other.end(EXECUTION)
        other.send_all(world.api)
    read = []
    whole = execution_lineage.read_link
    monkeypatch.setattr(execution_lineage, "read_link", lambda objects, row: read.append(row) or whole(objects, row))
    found = world.get("/api/v1/executions", system="payments")["items"]
    assert [one["outcome"] for one in found if one["execution"] == EXECUTION] == ["completed"]
    assert [(row.system, row.execution) for row in read] == [("payments", EXECUTION)]


def test_executions_are_listed_by_the_statements_of_their_starts(world, browser):
    found = world.get("/api/v1/executions")
    assert [one["execution"] for one in found["items"]] == ["execution-without-any-tie", OTHER, EXECUTION]
    assert (found["items"][2]["ended_at"], found["items"][1]["ended_at"]) == ("2026-01-31T12:00:06+00:00", None)
    assert [(one["outcome"], one["reason"]) for one in found["items"]] == [(None, None)] * 2 + [("completed", None)]
    first = world.get("/api/v1/executions", limit=2)
    rest = world.get("/api/v1/executions", limit=2, cursor=first["next"])
    assert [*first["items"], *rest["items"]] == found["items"] and rest["next"] is None
    bound = world.api.with_token("decision:read", system="billing").get("/api/v1/executions").json()
    assert [one["execution"] for one in bound["items"]] == [OTHER]
    again = Journal("five", "payments", "i5")
    again.start("execution-tried-twice")
    again.start("execution-tried-twice", again=True)
    again.send_all(world.api)
    assert [one["execution"] for one in world.get("/api/v1/executions")["items"]].count("execution-tried-twice") == 1
    text = page(browser, "/executions/stated?system=payments").text
    assert EXECUTION in text and "execution-tried-twice" in text and OTHER not in text
    assert "/executions/stated" in page(browser, "/executions").text


@pytest.mark.parametrize(
    ("bound", "most", "left_out"),
    [("MAX_DECISIONS", 2, "decisions"), ("MAX_EVENTS", 0, "events"), ("MAX_JOINED", 0, "executions"),
     ("MAX_LINKS", 4, "executions")],
)  # fmt: skip
def test_what_is_more_than_is_told_is_said_so_and_both_ways_agree(world, monkeypatch, bound, most, left_out):
    assert world.get()["left_out"] == []
    monkeypatch.setattr(execution_evidence, bound, most)
    found = world.get()
    assert found["left_out"] == [left_out]
    assert not any(one.get("missing") for one in found["story"])
    assert world.from_log() == world.api.get(PATH).content


# ---- somebody who can only add objects, and signs nothing ---------------------------------------------------


MALLORY = {"identity": "mallory@example.org", "issuer": "https://evil.example.org"}


def forged(world, *, longer=0):
    """A branch that leaves the journal before its first step, which nobody signed."""
    made = world.journal.made
    cut = next(at for at, one in enumerate(made) if one.kind == "execution/step")
    branch = Journal(number=cut, previous=payload_digest(made[cut - 1].statement()), enforced=world.journal.enforced)
    while branch.number < len(made) + longer:
        one = branch.start(f"forged-execution-{branch.number:03d}")
        yield object_key("payments", "one", one, payload_digest(one.statement())), one.statement()


@pytest.mark.parametrize("longer", [0, 1, -1])
def test_from_the_log_a_branch_that_nobody_signed_hides_nothing(world, longer):
    told = json.loads(world.from_log())
    for name, statement in forged(world, longer=longer):
        world.plane.objects.put(name, plain_evidence(statement, **MALLORY))
    found = json.loads(world.from_log())
    assert found.pop("left_out") == ["statements that do not verify"]
    assert told.pop("left_out") == [] and found == told


def test_from_the_log_a_branch_that_the_sidecar_signed_is_a_fork(world):
    for name, statement in list(forged(world, longer=-1))[:1]:
        world.plane.objects.put(name, plain_evidence(statement, world.journal.signer))
    with pytest.raises(Denied) as denied:
        world.from_log()
    assert str(denied.value.reason) == "link.fork"


def test_from_the_log_unsigned_statements_are_no_executions_and_no_joins(world):
    told = world.from_log()
    for name, execution in (("two", EXECUTION), ("three", "forged-execution-000")):
        twin = Journal(name, "billing", "i99")
        one = twin.start(execution)
        joins = twin.step("take", execution, materials=[Ref("artifact/report.pdf", digest("report"))])
        for each in (one, joins):
            key = object_key("billing", name, each, payload_digest(each.statement()))
            world.plane.objects.put(key, plain_evidence(each.statement(), **MALLORY))
    assert world.from_log() == told


def test_from_the_log_the_same_statement_with_another_signature_is_one(world):
    objects = world.plane.objects
    for name, _ in list(objects.keys("links/payments/one")):
        statement = payload_of(objects.get(name))
        for twin in (f"{name[:-5]}-.json", f"{name}.json"):
            objects.put(twin, plain_evidence(statement, **MALLORY))
    for name, _ in list(objects.keys("evidence/payments")):
        statement = payload_of(objects.get(name))
        objects.put(f"{name.rpartition('/')[0]}/0.json", plain_evidence(statement, **MALLORY))
    assert world.from_log() == world.api.get(PATH).content


@pytest.mark.parametrize("place", ["links/payments/one/i1/0.json", "evidence/payments/0.json"])
@pytest.mark.parametrize("junk", [b"", b"\xff", b"{}", plain_evidence(b'{"_type": 7}', **MALLORY)])
def test_from_the_log_an_unreadable_object_is_skipped_and_said(world, place, junk):
    told = json.loads(world.from_log())
    world.plane.objects.put(place, junk)
    assert json.loads(world.from_log()) == told | {"left_out": ["unreadable objects"]}


def test_from_the_log_a_batch_that_nobody_signed_is_skipped_and_said(world):
    told = json.loads(world.from_log())
    at = world.first.statement.closed_at + timedelta(seconds=1)
    other = replace(world.first.statement, closed_at=at)
    world.plane.objects.put("evidence/payments/0.json", plain_evidence(other.statement(), **MALLORY))
    assert json.loads(world.from_log()) == told | {"left_out": ["batches that do not verify"]}


@pytest.mark.parametrize("fault", ["all erased", "some erased", "of others", "junk"])
def test_from_the_log_an_added_object_hides_no_records(world, fault):
    told = json.loads(world.from_log())
    objects = world.plane.objects
    with world.plane.store.read() as session:
        for batch in session.exec(select(Batch)):
            directory, _, name = batch.object.rpartition("/")
            there = raw_records.entries(objects, batch)
            added = {
                "all erased": record_frames.pack([None] * len(there)),
                "some erased": record_frames.pack([None, *there[1:]]),
                "of others": record_frames.pack([b"{}"] * len(there)),
                "junk": b"junk",
            }[fault]
            for last in "0f":
                objects.put(f"{directory}/{name.partition('-')[0]}-{last * 64}.frames", added)
    found = json.loads(world.from_log())
    assert found == told | {"left_out": ["unreadable objects"] if fault == "junk" else []}


# ---- bounds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "left_out"),
    [(2, ["executions", "links"]), (4, ["executions"]), (5, ["links of other executions"]), (6, [])],
)
def test_links_are_bounded_both_ways(world, monkeypatch, most, left_out):
    monkeypatch.setattr(execution_evidence, "MAX_LINKS", most)
    found = world.get()
    assert found["left_out"] == left_out
    assert world.from_log() == world.api.get(PATH).content


def test_a_proof_of_more_links_than_one_holds_is_not_cut_short(world, monkeypatch):
    monkeypatch.setattr(execution_proofs, "MAX_LINKS", 3)
    answer = world.api.get(PATH.replace("lineage", "proof"))
    assert answer.status_code == 409 and "more than the 3 links" in answer.json()["detail"]


def test_what_links_name_is_told_however_much_claims_to_be_of_the_execution(world, monkeypatch):
    chain = Chain("five", instance="i5")
    journal = Journal("five", "payments", "i5")
    both = [[inside(f"{name}{n}", "execution-flooded", allow=False) for name in "xy"] for n in range(3)]
    claims = [chain.next(b"".join(two)) for two in both]
    last = chain.next(inside("named", "execution-flooded"))
    for made in (*claims, last):
        assert chain.send(world.api, made).status_code == 200
    journal.start("execution-flooded", decisions=[ref_of(last, "named")])
    journal.send_all(world.api)
    path = PATH.replace(EXECUTION, "execution-flooded")

    def told():
        found = world.get(path)
        assert world.from_log("execution-flooded") == world.api.get(path).content
        return [one["decision"] for one in found["story"] if one["what"] == "decision"], found["left_out"]

    assert len(told()[0]) == 7 and told()[1] == []
    monkeypatch.setattr(execution_evidence, "MAX_DECISIONS", 2)
    assert sorted(told()[0]) == ["named", "x0"] and told()[1] == ["decisions"]
    monkeypatch.undo()
    monkeypatch.setattr(lineage_objects, "MAX_OWN_BATCHES", 1)
    monkeypatch.setattr(lineage_rows, "MAX_OWN_BATCHES", 1)
    assert sorted(told()[0]) == ["named", "x0", "y0"] and told()[1] == ["decisions"]
