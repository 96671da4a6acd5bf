"""An execution at a real sidecar: its story from the control plane, and from object storage and the log alone."""

import base64
import hashlib
import json
import shutil
import ssl

import httpx
import pytest

from app.core import strict_json
from app.core.link_names import ENFORCE, payload_digest
from app.local import tools
from app.local.demo.parts import eventually
from app.local.demo.stack import AUTHOR, DOMAIN, SUBJECT, SYSTEM

from .lineage_kit import LineageStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SIDECAR, APPROVER = "till-s", "lead@example.org"
FIRST, SECOND = "an-execution-that-makes", "an-execution-that-takes"


def named(name):
    return {"name": name, "digest": {"sha256": hashlib.sha256(name.encode()).hexdigest()}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LineageStack(tmp_path_factory.mktemp("story"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        yield stack


def approved_warrant(stack, directory):
    """A warrant of the demo's workload that is issued once an approver signed: its token."""
    approvers = [{"identity": APPROVER, "issuer": stack.sigstore.issuer_url}]
    document = directory / "governance.json"
    document.write_text(json.dumps({"approval": {"required": True, "approvers": approvers}}))
    stack.placet("governance", "set", SYSTEM, "--file", str(document))
    subject = f"{stack.sigstore.issuer_url}#{SUBJECT}"
    asked = ("--subject", subject, "--action", "read", "--resource", "payment/*")
    file = directory / "job.warrant"
    pending = stack.placet("warrant", "issue", "--system", SYSTEM, *asked, "-o", str(file), expect=3)
    where = (pending["id"], "--system", SYSTEM)
    signing = ("--trust-config", str(stack.sigstore.trust_config), "--yes")
    stack.placet("warrant", "approve", *where, *signing, environment=stack.identity(APPROVER))
    stack.placet("warrant", "fetch", *where, "-o", str(file))
    return file.read_text().strip()


def run(stack, edge, sidecar, identifier, *steps, **more):
    """An execution from its start to its end, with a decision inside that its first step names."""
    asked = {**stack.request(), **more, "execution": {"id": identifier}}
    answer = edge.post("/v1/executions", json={"input": asked})
    assert answer.status_code == 200, answer.text
    execution = answer.json()["execution"]
    request = {**stack.request(), "execution": {"id": identifier, "token": execution["token"]}}
    del request["identity"]
    caller = sidecar.caller()
    decided = caller.ask(request)
    caller.close()
    assert decided.decision.allow
    for number, step in enumerate(steps):
        more = {"decisions": [decided.decision_id]} if number == 0 else {}
        body = {"token": execution["token"], "step": step | more}
        answer = edge.post(f"/v1/executions/{identifier}/steps", json=body)
        assert answer.status_code == 200, answer.text
    answer = edge.post(f"/v1/executions/{identifier}/end", json={"token": execution["token"], "outcome": "completed"})
    assert answer.status_code == 200, answer.text
    return decided.decision_id


def test_the_whole_story_is_rebuilt_from_object_storage_and_the_log(stack, tmp_path):
    sidecar = stack.start_sidecar(SIDECAR)
    warrant = approved_warrant(stack, tmp_path)
    context = ssl.create_default_context(cafile=str(sidecar.ca))
    url = f"https://127.0.0.1:{sidecar.edge}"
    with httpx.Client(base_url=url, verify=context, timeout=20, trust_env=False) as edge:
        decision = run(stack, edge, sidecar, FIRST, {"name": "load", "materials": [named("orders.csv")]},
                       {"name": "write", "products": [named("report.pdf")], "facts": {"exit": "0"}},
                       warrant=[warrant])  # fmt: skip
        run(stack, edge, sidecar, SECOND, {"name": "mail", "materials": [named("report.pdf")]})
    show = ("lineage", "show", FIRST)

    eventually("both executions are stored", lambda: ended(stack, FIRST) and ended(stack, SECOND), within=60)
    told = stack.placet(*show)
    what = [one["what"] for one in told["story"]]
    assert (
        what.index(ENFORCE) < what.index("execution/start") < what.index("execution/step") < what.index("execution/end")
    )
    assert "release/signed" in what and "decision" in what
    by = {one["by"] for one in told["story"] if one["what"] == "release/signed"}
    assert by == {AUTHOR}, told["story"]
    [signed] = (stack.directory / "server" / "objects" / "approvals" / SYSTEM).iterdir()
    approval = payload_digest(base64.b64decode(json.loads(signed.read_bytes())["dsseEnvelope"]["payload"]))
    start = next(one for one in told["links"] if one["kind"] == "execution/start")
    by_name = {one["name"].partition("/")[0]: f"sha256:{one['digest']['sha256']}" for one in start["materials"]}
    assert (by_name["warrant"], by_name["approval"]) == (payload_digest(warrant.encode()), approval)
    [who] = [one for one in told["story"] if one["what"] == "warrant/approved"]
    assert (who["by"], who["digest"], who["problem"]) == (APPROVER, approval, None)
    joined = {(one["from"], one["to"], one["kind"]) for one in told["edges"]}
    assert {(approval, start["digest"], "material"), (approval, by_name["warrant"], "vouches-for")} <= joined
    assert not any(one.get("missing") or one.get("unresolved") for one in told["story"])
    assert decision in [one["decision"] for one in told["story"] if one["what"] == "decision"]
    assert [one["id"] for one in told["executions"]] == [SECOND]
    nodes = {one["digest"]: one for one in told["nodes"]}
    assert all(node["known"] for node in nodes.values() if node["type"] in ("link", "decision", "evidence", "approval"))

    # Somewhere else: the objects and the log's tiles alone.
    copy, log = tmp_path / "objects", tmp_path / "log"
    shutil.copytree(stack.directory / "server" / "objects", copy)
    shutil.copytree(stack.sigstore.directory / "rekor", log)
    place = ("--from-log", "--objects", str(copy), "--domain", DOMAIN, "--identity-issuer", stack.server,
             "--lineage-trust-config", str(stack.sigstore.trust_config), "--log", str(log))  # fmt: skip
    rebuilt = stack.placet(*show, *place, environment={"PLACET_TOKEN": "", "PLACET_SERVER": "http://127.0.0.1:1"})
    assert strict_json.canonical(rebuilt) == strict_json.canonical(told)

    # A log that does not hold an entry as the evidence says is found.
    entry = entry_of(copy, told["links"][0]["digest"])
    for tile in log.rglob("*"):
        if tile.is_file() and (at := tile.read_bytes().find(entry)) >= 0:
            body = tile.read_bytes()
            tile.write_bytes(body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
    stack.placet(*show, *place, expect=3)

    # One file proves it, without any of this.
    proof = tmp_path / "proof.json"
    stack.placet("proof", "export", "--execution", FIRST, "-o", str(proof))
    trust = ("--trust-config", str(stack.sigstore.trust_config))
    names = ("--certificate-identity", f"spiffe://{DOMAIN}/sidecar/{SYSTEM}/{SIDECAR}", "--certificate-oidc-issuer",
             stack.server, "--release-identity", AUTHOR,
             "--release-oidc-issuer", stack.sigstore.issuer_url)  # fmt: skip
    proved = stack.placet("proof", "verify", str(proof), *trust, *names)
    assert (proved["execution"], proved["outcome"]) == (FIRST, "completed")
    assert [one.get("step") for one in proved["links"]] == [None, "load", "write", None]
    assert decision in [one["id"] for one in proved["decisions"]]


def ended(stack, identifier):
    found = httpx.get(
        f"{stack.server}/api/v1/executions/{identifier}/lineage",
        headers=stack.authorization(),
        timeout=30,
        trust_env=False,
    )
    return found.status_code == 200 and found.json()["execution"]["outcome"] is not None


def entry_of(objects, digest):
    """The leaf hash of a link's entry in the log, as its tile holds it."""
    [file] = objects.glob(f"links/*/*/*/*-{digest.removeprefix('sha256:')}.json")
    entry = json.loads(file.read_bytes())["verificationMaterial"]["tlogEntries"][0]
    return hashlib.sha256(b"\x00" + base64.b64decode(entry["canonicalizedBody"])).digest()
