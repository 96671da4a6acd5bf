"""The journal of a sidecar from end to end, with real parts: executions, their steps and ends, kills, breaks."""

import base64
import hashlib
import itertools
import json
import shutil
import sqlite3
import ssl
from contextlib import closing

import httpx
import pytest

from app.core.link import Link
from app.core.link_names import END, ENFORCE, RENEWED, START, STEP, TRUST, WITHDRAWN, execution_ref, payload_digest
from app.core.reason_codes import Reason
from app.local import tools
from app.local.demo.parts import eventually
from app.local.demo.rows.table import reports
from app.local.demo.stack import AUTHOR, DOMAIN, SUBJECT, SYSTEM

from .lineage_kit import LineageStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

ID = "an-execution-with-steps"
MADE = {"name": "report.pdf", "digest": {"sha256": hashlib.sha256(b"report").hexdigest()}}
USED = {"name": "input.csv", "digest": {"sha256": hashlib.sha256(b"input").hexdigest()}}


class JournalStack(LineageStack):
    """The stack, and what its control plane holds of journals."""

    def payloads(self, sidecar):
        """The statements of a sidecar's journals, as they are stored, in order."""
        with closing(sqlite3.connect(f"file:{self.database()}?mode=ro", uri=True)) as database:
            query = "SELECT object FROM link WHERE sidecar = ? ORDER BY id"
            names = [row[0] for row in database.execute(query, (sidecar,))]
        objects = self.directory / "server" / "objects"
        evidence = [json.loads((objects / name).read_bytes()) for name in names]
        return [base64.b64decode(one["dsseEnvelope"]["payload"]) for one in evidence]

    def links(self, sidecar):
        """What they say."""
        return [Link.read(payload) for payload in self.payloads(sidecar)]

    def edge(self, sidecar):
        """A client of a sidecar's own API."""
        context = ssl.create_default_context(cafile=str(sidecar.ca))
        return httpx.Client(base_url=f"https://127.0.0.1:{sidecar.edge}", verify=context, timeout=20, trust_env=False)

    def begin(self, edge, identifier, **more):
        """Start an execution."""
        request = {**self.request(), "execution": {"id": identifier}}
        answer = edge.post("/v1/executions", json={"input": request, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def inside(self, sidecar, execution):
        """A decision inside an execution."""
        request = {**self.request(), "execution": {"id": execution["id"], "token": execution["token"]}}
        del request["identity"]
        caller = sidecar.caller()
        try:
            return caller.ask(request)
        finally:
            caller.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with JournalStack(tmp_path_factory.mktemp("journal"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        yield stack


def step(edge, execution, **more):
    body = {"token": execution["token"], "step": {"name": "build", **more}}
    return edge.post(f"/v1/executions/{execution['id']}/steps", json=body)


def end(edge, execution, outcome="completed"):
    body = {"token": execution["token"], "outcome": outcome}
    return edge.post(f"/v1/executions/{execution['id']}/end", json=body)


def codes(answer):
    assert answer.status_code == 403, answer.text
    return [reason["code"] for reason in answer.json()["decision"]["reasons"]]


def kinds_of(stack, sidecar, kind):
    return [link for link in stack.links(sidecar) if link.kind == kind]


def has_ended(stack, sidecar, execution):
    return any(link.execution == execution for link in kinds_of(stack, sidecar, END))


def chained(payloads):
    """Whether statements follow each other without gap, fork or repeat."""
    links = [Link.read(payload) for payload in payloads]
    numbers = [link.number for link in links] == list(range(len(links)))
    digests = [payload_digest(payload) for payload in payloads]
    return numbers and [link.previous for link in links] == [None, *digests[:-1]]


def test_an_execution_with_steps(stack):
    sidecar = stack.start_sidecar("till-j")
    edge = stack.edge(sidecar)
    started = stack.begin(edge, ID)
    execution = started["execution"]
    decided = stack.inside(sidecar, execution)
    assert decided.decision.allow
    said = {"decisions": [decided.decision_id], "materials": [USED], "products": [MADE], "facts": {"exit": "0"}}
    first = step(edge, execution, command=["make"], **said)
    assert first.status_code == 200, first.text
    noted = first.json()["step"]
    assert (noted["execution"], noted["steps"], noted["name"]) == (ID, "1", "build")
    path, bearer = f"/v1/executions/{ID}/steps", {"Authorization": f"Bearer {execution['token']}"}
    digest = eventually("final", lambda: edge.get(f"{path}/{noted['number']}", headers=bearer).json()["step"]["digest"])
    second = step(edge, execution, name="publish", parents=[digest], materials=[MADE])
    assert second.json()["step"]["steps"] == "2"
    other = stack.begin(edge, "another-execution")["execution"]
    eventually("known", lambda: step(edge, other, decisions=[decided.decision_id]).status_code == 400)
    assert end(edge, execution).status_code == 200
    assert codes(step(edge, execution)) == ["execution.ended"]
    assert codes(edge.post(f"/v1/executions/{ID}/renew", json={"token": execution["token"]})) == ["execution.ended"]
    request = {**stack.request(), "execution": {"id": ID}}
    assert codes(edge.post("/v1/executions", json={"input": request})) == ["execution.ended"]
    eventually("decisions deny", lambda: stack.inside(sidecar, execution).codes == ["quarantine.execution"])
    assert stack.inside(sidecar, other).decision.allow
    eventually("shipped", lambda: has_ended(stack, "till-j", ID), within=30)
    eventually("and the state that names it", lambda: len(kinds_of(stack, "till-j", TRUST)) == 2, within=30)

    payloads = stack.payloads("till-j")
    assert chained(payloads)
    links = [Link.read(payload) for payload in payloads]
    by_kind = {kind: [link for link in links if link.kind == kind] for kind in (ENFORCE, RENEWED, TRUST)}
    assert len(by_kind[ENFORCE]) == len(by_kind[RENEWED]) == 1
    assert links[0].kind == TRUST, "before OPA decides by it"
    assert [one.changed for one in by_kind[TRUST]][1:] == [("quarantine",)]
    story = [link for link in links if link.execution == ID]
    start, one, two, over = story
    assert [link.kind for link in story] == [START, STEP, STEP, END]
    assert start.byproducts["subject"] == {"issuer": stack.sigstore.issuer_url, "id": SUBJECT}
    assert set(start.decisions) == {started["decision_id"]}
    assert set(one.decisions) == {decided.decision_id}
    named = {ref.name: ref.digest for ref in start.materials}
    assert named["state"] == started["decision"]["state"] == by_kind[TRUST][0].new
    assert {named["policy"], named["library"]} == set(started["decision"]["bundles"].values())
    digests = {payload_digest(payload): Link.read(payload) for payload in payloads}
    assert digests[named["link/release/enforce"]].kind == ENFORCE
    assert [digests[link.before] for link in story[1:]] == story[:-1]
    assert digest in {ref.digest for ref in two.materials if ref.name == "link/parent"}
    assert over.byproducts == {"execution": ID, "outcome": "completed", "reason": None, "steps": "2"}
    identity = f"spiffe://{DOMAIN}/sidecar/{SYSTEM}/till-j"
    assert {link.subject[0] for link in story} == {execution_ref(identity, start.instance, ID)}
    named_leaves = {leaf for link in story for leaf in link.decisions.values()}
    eventually("their records are stored", lambda: named_leaves <= leaves_of(stack, "till-j"), within=30)

    assert {link.new.removeprefix("sha256:") for link in by_kind[TRUST]} <= kept_states(stack), "archived"
    sidecar.agent.stop()
    eventually("its end is known", lambda: stack.links("till-j")[-1].kind == WITHDRAWN)
    assert stack.links("till-j")[-1].byproducts["reason"] == Reason.AGENT_ENDED
    stack.stop_sidecar(sidecar)


def kept_states(stack):
    """The digests of the trust states that the control plane has archived."""
    return {path.stem for path in (stack.directory / "server" / "objects" / "states" / SYSTEM).iterdir()}


def test_a_start_that_is_tried_again_is_noted_again_and_proved(stack, tmp_path):
    """A caller that got no answer chooses the same id: the control plane counts it once, the journal says it twice."""
    sidecar = stack.start_sidecar("till-t")
    edge = stack.edge(sidecar)
    first = stack.begin(edge, "an-execution-tried-twice")
    again = stack.begin(edge, "an-execution-tried-twice")
    assert step(edge, first["execution"]).json()["step"]["steps"] == "1"
    third = stack.begin(edge, "an-execution-tried-twice")
    assert step(edge, again["execution"]).json()["step"]["steps"] == "2"
    assert end(edge, third["execution"]).status_code == 200
    eventually("shipped", lambda: has_ended(stack, "till-t", "an-execution-tried-twice"), within=60)
    links = [link for link in stack.links("till-t") if link.execution == "an-execution-tried-twice"]
    assert [link.kind for link in links] == [START, START, STEP, START, STEP, END]
    decided = [first["decision_id"], again["decision_id"], third["decision_id"]]
    assert [[*link.decisions] for link in links if link.kind == START] == [[one] for one in decided]
    told = stack.placet("lineage", "show", "an-execution-tried-twice")
    assert [one["what"] for one in told["story"]].count(START) == 3
    eventually("its records are stored", lambda: stack.decisions_known(decided) == set(decided), within=30)
    proof = tmp_path / "proof.json"
    stack.placet("proof", "export", "--execution", "an-execution-tried-twice", "-o", str(proof))
    verified = stack.placet(
        "proof", "verify", str(proof), "--trust-config", str(stack.sigstore.trust_config),
        "--certificate-identity", f"spiffe://{DOMAIN}/sidecar/{SYSTEM}/till-t",
        "--certificate-oidc-issuer", stack.server,
        "--release-identity", AUTHOR, "--release-oidc-issuer", stack.sigstore.issuer_url,
    )  # fmt: skip
    assert verified
    assert stack.breaks("till-t") == []
    stack.stop_sidecar(sidecar)


def leaves_of(stack, sidecar):
    """The leaf hashes of all records that the control plane holds of a sidecar."""
    with closing(sqlite3.connect(f"file:{stack.database()}?mode=ro", uri=True)) as database:
        names = [row[0] for row in database.execute("SELECT leaves FROM batch WHERE sidecar = ?", (sidecar,))]
    joined = [(stack.directory / "server" / "objects" / name).read_bytes() for name in names]
    return {f"sha256:{raw[at : at + 32].hex()}" for raw in joined for at in range(0, len(raw), 32)}


def test_an_agent_that_is_killed_with_drafts_pending_loses_and_forks_nothing(stack):
    """The control plane and Sigstore are away meanwhile, so that everything waits."""
    sidecar = stack.start_sidecar("till-k")
    edge = stack.edge(sidecar)
    execution = stack.begin(edge, "an-execution-that-is-killed")["execution"]
    rekor = stack.sigstore._servers["rekor"]
    rekor.kill()
    rekor.wait()
    noted = []
    for turn in range(2):
        for number in range(6):
            decided = stack.inside(sidecar, execution)
            answer = step(edge, execution, name=f"step-{turn}-{number}", decisions=[decided.decision_id])
            assert answer.status_code == 200, answer.text
            noted.append((answer.json()["step"]["number"], decided.decision_id))
        sidecar.agent.kill()
        edge.close()
        stack.start_agent(sidecar)
        edge = stack.edge(sidecar)
    stack.sigstore.stop()
    stack.sigstore.start()
    eventually("shipped", lambda: len(kinds_of(stack, "till-k", STEP)) == 12, within=90)
    payloads = stack.payloads("till-k")
    assert chained(payloads)
    steps = {str(link.number): link for link in map(Link.read, payloads) if link.kind == STEP}
    assert [link.byproducts["steps"] for link in steps.values()] == [str(n) for n in range(1, 13)]
    for number, decision in noted:
        assert set(steps[number].decisions) == {decision}, steps[number].byproducts["unresolved"]
    named_leaves = {leaf for link in steps.values() for leaf in link.decisions.values()}
    eventually("their records are stored", lambda: named_leaves <= leaves_of(stack, "till-k"), within=30)
    assert stack.breaks("till-k") == []
    stack.stop_sidecar(sidecar)


def test_a_journal_that_was_set_back_is_a_fork_and_ends_the_lease(stack):
    sidecar = stack.start_sidecar("till-f")
    edge = stack.edge(sidecar)
    execution = stack.begin(edge, "an-execution-before")["execution"]
    eventually("shipped", lambda: kinds_of(stack, "till-f", START), within=30)
    sidecar.agent.kill()
    private = sidecar.directory / "private"
    backup = stack.directory / "backup"
    backup.mkdir()
    for path in private.glob("journal-*"):
        shutil.copy2(path, backup)
    stack.start_agent(sidecar)
    assert step(edge, execution).status_code == 200
    eventually("shipped", lambda: kinds_of(stack, "till-f", STEP), within=30)
    sidecar.agent.kill()
    for path in private.glob("journal-*"):
        path.unlink()
    for path in backup.iterdir():
        shutil.copy2(path, private)
    stack.start_agent(sidecar, wait=False)
    eventually("refused", lambda: reports(sidecar, Reason.LINK_FORK), within=60)
    [found] = stack.breaks("till-f")
    assert (found["kind"], found["stops"]) == (Reason.LINK_FORK, True)
    eventually("denied", lambda: not healthy(stack, sidecar))
    assert chained(stack.payloads("till-f"))
    stack.stop_sidecar(sidecar)


def healthy(stack, sidecar):
    caller = sidecar.caller()
    try:
        return caller.ask(stack.request()).decision.allow
    finally:
        caller.close()


def test_a_release_and_a_quarantine_leave_their_links(stack):
    sidecar = stack.start_sidecar("till-r")
    stack.publish(stack.sign(stack.build("v2", {"limit": 7})))
    eventually("two releases", lambda: len(kinds_of(stack, "till-r", ENFORCE)) == 2, within=60)
    first, second = kinds_of(stack, "till-r", ENFORCE)
    assert first.subject != second.subject
    assert [link.byproducts["sequence"] for link in (first, second)] == sorted(
        [first.byproducts["sequence"], second.byproducts["sequence"]], key=int
    )
    release = json.loads((stack.directory / "v2.tar.gz.sigstore.json").read_bytes())
    payload = base64.b64decode(release["dsseEnvelope"]["payload"])
    assert payload_digest(payload) in {ref.digest for ref in second.materials}, "the release's own provenance"
    before = len(stack.links("till-r"))
    stack.placet("quarantine", "add", stack.sigstore.issuer_url, SUBJECT, "--reason", "looks odd")
    eventually("a change", lambda: any(link.kind == TRUST for link in stack.links("till-r")[before:]), within=30)
    stack.placet("quarantine", "lift", stack.sigstore.issuer_url, SUBJECT)
    changes = [link for link in stack.links("till-r") if link.kind == TRUST]
    assert all(one.new == other.old for one, other in itertools.pairwise(changes))
    assert changes[-1].changed == ("quarantine",)
    stack.stop_sidecar(sidecar)
