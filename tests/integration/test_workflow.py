"""Steps and workflows from end to end: SDK and CLI, a real sidecar, the control plane, in-toto-verify at the end."""

import asyncio
import json
import subprocess
import sys
import uuid
from pathlib import Path

import httpx
import pytest

from app.local import tools
from app.local.demo.parts import eventually
from app.local.demo.stack import DOMAIN, SYSTEM
from placet_sdk import AsyncPlacet, Denied, Placet

from .lineage_kit import LineageStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

#: What may be done in the workflow alone. The example policy lets the caller read any payment.
GUARDED, FREE = ("payment", "w-1"), ("payment", "p-1")
REVIEW = {
    "layout": {
        "steps": [
            {"name": "collect", "expected_products": [["CREATE", "figures"], ["DISALLOW", "*"]]},
            {
                "name": "judge",
                "expected_materials": [["MATCH", "figures", "WITH", "PRODUCTS", "FROM", "collect"], ["DISALLOW", "*"]],
                "expected_products": [["REQUIRE", "verdict"]],
            },
        ]
    },
    "required_for": {"actions": ["read"], "resources": ["payment/w-*"]},
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LineageStack(tmp_path_factory.mktemp("workflow"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        url = f"{stack.server}/api/v1/systems/{SYSTEM}/governance"
        body = {"document": {"workflows": {"review": REVIEW}}, "version": 0}
        answer = httpx.put(url, json=body, headers=stack.authorization(), timeout=30, trust_env=False)
        assert answer.is_success, answer.text
        stack.sidecar = stack.start_sidecar("till-w")
        yield stack


def client(stack, kind=Placet):
    sidecar = stack.sidecar
    base = "https://127.0.0.1:"
    return kind(
        f"{base}{sidecar.port}", edge=f"{base}{sidecar.edge}", ca=sidecar.ca, identity=stack.workload_token, timeout=10
    )


def placet(stack, *arguments, expect=0):
    reach = ["--edge", f"https://127.0.0.1:{stack.sidecar.edge}", "--ca", str(stack.sidecar.ca)]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    mine = ["--output", "json"] if at < len(arguments) else []
    command = [*arguments[:at], *reach, *mine, *arguments[at:]]
    if mine:  # what follows -- is the command's, so that `Stack.placet` cannot add its own
        program = [sys.executable, "-m", "cli", *command]
        done = subprocess.run(program, capture_output=True, text=True, timeout=120)
        assert done.returncode == expect, done.stderr
        return done
    return stack.placet(*command, expect=expect)


def server(stack):
    return {"PLACET_SERVER": stack.server, "PLACET_TOKEN": stack.admin_token}


def lineage(stack, execution, outcome):
    """The lineage of an execution, once its end has come to the control plane."""

    def known():
        try:
            found = stack.api(f"/executions/{execution}/lineage")
        except httpx.HTTPStatusError:
            return None
        return found if found["execution"]["outcome"] == outcome else None

    return eventually(f"the lineage of {execution}", known, within=60)


def in_toto_verify(directory):
    command = [Path(sys.executable).with_name("in-toto-verify"), "--layout", directory / "root.layout"]
    command += ["--verification-keys", directory / "exporter.pub", "--link-dir", directory]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def codes(denied):
    return denied.value.decision.codes


def test_steps_of_an_execution_are_exported_as_in_toto_reads_them(stack, tmp_path):
    with client(stack) as placet_, placet_.execution("read", FREE) as run:
        decision = run.require("read", FREE)
        first = run.step("load", materials={"in": b"raw"}, decisions=[decision], facts={"rows": "3"})
        assert first.steps == 1
        digest = first.digest(60)
        token = tmp_path / "token"
        token.write_text(run.token)
        token.chmod(0o600)
        (tmp_path / "out").write_text("made")
        options = ["--token", str(token), "--name", "make", "--product", f"out={tmp_path / 'out'}", "--parent", digest]
        done = placet(stack, "execution", "step", run.id, *options, "--wait", "--", "true")
        assert '"digest": "sha256:' in done.stdout
        with pytest.raises(Denied) as denied:
            run.step("other", decisions=[str(uuid.uuid4()) + "x" * 64])
        assert codes(denied) == ["request.malformed"]
    found = lineage(stack, run.id, "completed")
    assert [one["kind"] for one in found["links"]] == [
        "execution/start",
        "execution/step",
        "execution/step",
        "execution/end",
    ]
    load, make = found["links"][1:3]
    assert load["digest"] == digest
    assert f"decision/{decision.decision_id}" in [one["name"] for one in load["materials"]]
    assert ("link/parent", digest.removeprefix("sha256:")) in [
        (one["name"], one["digest"]["sha256"]) for one in make["materials"]
    ]
    assert (make["command"], make["byproducts"]["facts"]) == (["true"], {"exit_code": "0"})
    out, shown = tmp_path / "evidence", tmp_path / "shown.json"
    stack.placet("lineage", "export", run.id, "-o", str(out), environment=server(stack))
    done = in_toto_verify(out)
    assert done.returncode == 0, done.stderr
    # The same without the control plane: from what lies in object storage alone.
    objects = ["--objects", str(stack.directory / "server" / "objects")]
    trust = ["--lineage-trust-config", str(stack.sigstore.trust_config), "--domain", DOMAIN]
    trust += ["--identity-issuer", stack.server]
    from_log = stack.placet("lineage", "show", run.id, "--from-log", *objects, *trust)
    del from_log["stderr"]
    shown.write_text(json.dumps(from_log))
    stack.placet("lineage", "export", run.id, "--from", str(shown), "-o", str(tmp_path / "other"))
    done = in_toto_verify(tmp_path / "other")
    assert done.returncode == 0, done.stderr
    assert links_of(out) == links_of(tmp_path / "other")


def links_of(directory):
    """What the links of an export say, without the key that signed them."""
    return {path.name.partition(".")[0]: json.loads(path.read_text())["signed"] for path in directory.glob("*.link")}


def test_what_a_workflow_guards_is_done_in_it_alone(stack, tmp_path):
    with client(stack) as placet_:
        assert placet_.decide("read", FREE)
        assert placet_.decide("read", GUARDED).codes == ["workflow.required"]
        for named in (None, "unknown"):
            with pytest.raises(Denied) as denied, placet_.execution("read", GUARDED, workflow=named):
                pass
            assert codes(denied) == ["workflow.required"]
        with placet_.execution("read", FREE) as outside:
            assert outside.decide("read", GUARDED).codes == ["workflow.required"]
        with placet_.execution("read", GUARDED, workflow="review") as run:
            decision = run.require("read", GUARDED)
            assert run.decide("read", FREE)
            run.step("collect", products={"figures": b"1 2 3"}, decisions=[decision])
            run.renew()
            run.require("read", GUARDED)
            run.step("judge", materials={"figures": b"1 2 3"}, products={"verdict": b"good"})
    found = lineage(stack, run.id, "completed")
    assert found["execution"]["workflow"] == "review"
    shown = subprocess.run(
        [sys.executable, "-m", "cli", "governance", "show", SYSTEM], capture_output=True, text=True, timeout=60,
        env=stack._environment(server(stack)),
    )  # fmt: skip
    governance, out = tmp_path / "governance.yaml", tmp_path / "evidence"
    governance.write_text(shown.stdout)
    export = ["lineage", "export", run.id, "-o", str(out), "--governance", str(governance)]
    stack.placet(*export, environment=server(stack))
    done = in_toto_verify(out)
    assert done.returncode == 0, done.stderr


def left(stack, leave):
    """An execution that leaves its workflow: it is stopped, and denied from then on. Its id."""
    with client(stack) as placet_:
        with pytest.raises(Denied) as denied, placet_.execution("read", GUARDED, workflow="review") as run:
            leave(run)
        assert codes(denied) == ["workflow.violated"]
        again = placet_.resume(run.id, run.token, run.expires_at)
        eventually("decisions deny", lambda: again.decide("read", FREE).codes == ["quarantine.execution"], within=20)
        for ask in (again.renew, lambda: again.step("collect"), again.end):
            with pytest.raises(Denied) as denied:
                ask()
            assert codes(denied) == ["execution.ended"]
        with pytest.raises(Denied) as denied, placet_.execution("read", FREE, id=run.id):
            pass
        assert codes(denied) == ["execution.ended"]
    return run.id


LEAVES = {
    "another step first": lambda run: run.step("judge"),
    "a product too many": lambda run: run.step("collect", products={"figures": b"1", "more": b"2"}),
    "an end before the end": lambda run: run.end(),
}


@pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES)
def test_whoever_leaves_it_is_stopped(stack, leave):
    execution = left(stack, leave)
    found = lineage(stack, execution, "stopped")
    assert found["execution"]["reason"] == "workflow.violated"
    assert not [one for one in found["links"] if one["kind"] == "execution/step"]


def test_a_killed_agent_forgets_no_step(stack):
    with client(stack) as placet_:
        runs = []
        for _ in range(2):
            with placet_.execution("read", GUARDED, workflow="review") as run:
                run.step("collect", products={"figures": b"1"})
                run.ended = True  # so that leaving the block does not end it: the agent is killed meanwhile
            runs.append(run)
        stack.sidecar.agent.process.kill()
        stack.sidecar.agent.process.wait(10)
        stack.start_agent(stack.sidecar)
        goes_on, leaves = (placet_.resume(run.id, run.token, run.expires_at) for run in runs)
        assert goes_on.step("judge", materials={"figures": b"1"}, products={"verdict": b"good"}).steps == 2
        goes_on.end()
        with pytest.raises(Denied) as denied:
            leaves.step("collect", products={"figures": b"1"})
        assert codes(denied) == ["workflow.violated"]
    assert lineage(stack, goes_on.id, "completed")["execution"]["steps"] == "2"
    assert lineage(stack, leaves.id, "stopped")["execution"]["steps"] == "1"


def test_a_failed_end_needs_no_whole_workflow(stack):
    async def fail():
        async with client(stack, AsyncPlacet) as placet_:
            async with placet_.execution("read", GUARDED, workflow="review") as run:
                step = await run.step("collect", products={"figures": b"1"})
                assert (await step.digest(60)).startswith("sha256:")
                await run.end("failed")
                assert (await run.decide("read", FREE)).codes == ["execution.expired"]
            return run.id

    assert lineage(stack, asyncio.run(fail()), "failed")["execution"]["reason"] is None
