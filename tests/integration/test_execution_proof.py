"""Proofs of executions with the real Sigstore: our verifier and the independent one in Go give the same verdicts."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core import execution_proof
from app.core.errors import Denied
from app.core.execution_proof_form import ExecutionProof
from app.core.verification_policy import VerificationPolicy

from . import execution_kit
from .proof_stand import Stand
from .test_verify_go import binary  # noqa: F401 - a fixture

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]


class Files:
    """Proofs of a Sigstore that no longer runs: a verifier needs no server."""

    def __init__(self, directory):
        self.directory = directory
        with Stand(directory / "sigstore") as stand:
            self.good, self.tampered = execution_kit.good_proofs(stand), execution_kit.tampered(stand)
        self.stand = stand

    def verify(self, raw):
        return execution_proof.verify(
            ExecutionProof.read(raw),
            sidecars=VerificationPolicy(identities=[self.stand.sidecar]),
            releases=VerificationPolicy(identities=[self.stand.releaser]),
            lineage=self.stand.trust,
            trust=self.stand.trust,
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("executions"))


def test_our_verifier_accepts_the_good_ones(files):
    proven = {name: files.verify(raw) for name, raw in files.good.items()}
    assert {name: len(one.links) for name, one in proven.items()} == {
        "whole": 4, "stopped": 4, "no end": 3, "started alone": 1, "tried again": 2, "no decision": 2,
        "an erased record": 4,
    }  # fmt: skip
    assert {name: one.end and one.end.byproducts["outcome"] for name, one in proven.items()} == {
        "whole": "completed", "stopped": "stopped", "no end": None, "started alone": None, "tried again": None,
        "no decision": "failed",
        "an erased record": "completed",
    }  # fmt: skip
    assert [one.decision and one.decision.decision_id for one in proven["an erased record"].decisions.values()].count(
        None
    ) == 1  # fmt: skip


def test_our_verifier_refuses_the_others_each_for_its_reason(files):
    wrong = []
    for name, (raw, reason) in files.tampered.items():
        try:
            files.verify(raw)
            wrong.append((name, reason, "accepted"))
        except Denied as denied:
            if not str(denied.reason).startswith(reason):
                wrong.append((name, reason, str(denied)))
    assert wrong == []


def test_the_verifier_in_go_gives_the_same_verdicts(files, binary):  # noqa: F811
    stand = files.stand

    def accepted(named):
        name, raw = named
        path = files.directory / f"{name.replace(' ', '-')}.json"
        path.write_bytes(raw)
        options = {
            "trusted-root": stand.trust_config,
            "sidecar-identity": stand.sidecar.identity,
            "sidecar-issuer": stand.sidecar.issuer,
            "release-identity": stand.releaser.identity,
            "release-issuer": stand.releaser.issuer,
        }
        command = [binary, *(f"--{option}={value}" for option, value in options.items()), path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={})
        if done.returncode == 0:
            assert json.loads(done.stdout)["execution"] == execution_kit.EXECUTION
            return True
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1), (name, done.stderr)
        return False

    with ThreadPoolExecutor(2) as pool:
        good = dict(zip(files.good, pool.map(accepted, files.good.items()), strict=True))
        bad = pool.map(accepted, ((name, raw) for name, (raw, _) in files.tampered.items()))
        tampered = dict(zip(files.tampered, bad, strict=True))
    assert good == dict.fromkeys(good, True)
    assert tampered == dict.fromkeys(tampered, False)
