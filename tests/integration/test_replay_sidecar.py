"""Decisions of a real sidecar, shipped in signed batches with the trust states that they name, are made again."""

import json
from collections import Counter

import pytest

from app.local import tools
from app.local.demo.parts import eventually
from app.local.demo.stack import SYSTEM

from . import control_kit
from .lineage_kit import LineageStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LineageStack(tmp_path_factory.mktemp("replay"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        yield stack


def test_decisions_of_a_sidecar_are_made_again(stack):
    sidecar = stack.start_sidecar("replayed")
    caller = sidecar.caller()
    eventually("allowed", lambda: caller.ask(stack.request()).decision.allow)
    asked = [
        stack.request(),
        stack.request("refund", amount=7),
        stack.request("no such action"),
        stack.request(token="x"),
    ]
    answers = [caller.ask(one) for one in asked * 5]
    assert {answer.decision.allow for answer in answers} == {True, False}
    known = {answer.decision_id for answer in answers}
    eventually("known", lambda: known <= set(stack.decision_ids("replayed")))

    token = stack.directory / "admin.token"
    token.write_text(stack.admin_token)
    token.chmod(0o600)
    options = ["--server", stack.server, "--token-file", token, "--output", "json"]
    done = control_kit.placet("decision", "replay", "--system", SYSTEM, *options)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert known <= {line["decision_id"] for line in lines}
    assert Counter(line["verdict"] for line in lines) == {"same": len(lines)}, done.stderr
