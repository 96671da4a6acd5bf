"""Proofs of executions with the real Sigstore: our verifier and the independent one in Go give the same verdicts."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core import execution_proof
from app.core.errors import Denied
from app.core.execution_proof_form import ExecutionProof
from app.core.proof_policy import ProofPolicy
from app.core.reason_codes import Reason
from app.core.verification_policy import VerificationPolicy
from cli.main import main

from . import execution_kit
from .proof_parts import COMMIT, POLICY
from .proof_stand import Stand
from .test_verify_go import binary  # noqa: F401 - a fixture

SOURCE = "git+https://git.example.org/policies"

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]


class Files:
    """Proofs of a Sigstore that no longer runs: a verifier needs no server."""

    def __init__(self, directory):
        self.directory = directory
        with Stand(directory / "sigstore") as stand:
            self.good, self.tampered = execution_kit.good_proofs(stand), execution_kit.tampered(stand)
        self.stand = stand

    def verify(self, raw, **demands):
        return execution_proof.verify(
            ExecutionProof.read(raw),
            sidecars=VerificationPolicy(identities=[self.stand.sidecar]),
            releases=VerificationPolicy(identities=[self.stand.releaser]),
            lineage=self.stand.trust,
            trust=self.stand.trust,
            demands=ProofPolicy(sidecars=[], **demands).demands(),
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("executions"))


def test_our_verifier_accepts_the_good_ones(files):
    proven = {name: files.verify(raw) for name, raw in files.good.items()}
    assert {name: len(one.links) for name, one in proven.items()} == {
        "whole": 4, "stopped": 4, "stopped by a state": 4, "no end": 3, "started alone": 1, "tried again": 2,
        "no decision": 2,
        "an erased record": 4,
    }  # fmt: skip
    assert {name: one.end and one.end.byproducts["outcome"] for name, one in proven.items()} == {
        "whole": "completed", "stopped": "stopped", "stopped by a state": "stopped", "no end": None,
        "started alone": None, "tried again": None,
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


#: What may be demanded of source and tests, and whether each good file holds then: its release has no result of tests.
DEMANDS = (({"sources": [SOURCE]}, True), ({"sources": [f"{SOURCE}/other"]}, False), ({"tests_passed": True}, False))


def test_what_must_be_proved_of_source_and_tests(files):
    whole, erased = files.good["whole"], files.good["an erased record"]
    for demands, holds in DEMANDS:
        if holds:
            files.verify(whole, **demands)
        for raw in (erased,) if holds else (whole, erased):
            with pytest.raises(Denied) as denied:
                files.verify(raw, **demands)
            assert denied.value.reason in (Reason.EVIDENCE_INCOMPLETE, Reason.EVIDENCE_CONDITION)


def test_the_command_shows_source_tests_and_log(files, monkeypatch, capsys):
    stand = files.stand
    path = files.directory / "whole.json"
    path.write_bytes(files.good["whole"])
    options = (
        *("--trust-config", str(stand.trust_config), "--certificate-identity", stand.sidecar.identity),
        *("--certificate-oidc-issuer", stand.sidecar.issuer, "--release-identity", stand.releaser.identity),
        *("--release-oidc-issuer", stand.releaser.issuer),
    )

    def placet(*arguments):
        monkeypatch.setattr(sys, "argv", ["placet", "proof", "verify", str(path), *options, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr()

    code, said = placet()
    assert code == 0
    shown = dict(re.split(r"  +", line, maxsplit=1) for line in said.out.splitlines())
    assert shown["bundle"] == POLICY
    assert shown["signer"] == str(stand.releaser)
    assert shown["source"] == f"{SOURCE}@{COMMIT}, 1 file by digest"
    assert shown["tests"] == "not shown"
    assert re.fullmatch(r"last entry \d+ of \d+ of 127\.0\.0\.1", shown["log"])
    proved = json.loads(placet("--output", "json")[1].out)
    [release] = proved["releases"]
    assert release["sources"] == [{"uri": SOURCE, "commit": COMMIT, "changed": False}]
    assert release["proved"] == {"source": True, "tests_passed": False}
    assert {frozenset(one["log"]) for one in (*proved["links"], *proved["decisions"])} == {
        frozenset({"origin", "index", "size"})
    }
    code, said = placet("--tests-passed")
    assert (code, said.err) == (
        3,
        "placet: denied: evidence.incomplete: no result of tests (step release, tests_passed)\n",
    )


def test_the_verifier_in_go_gives_the_same_verdicts(files, binary):  # noqa: F811
    stand = files.stand

    def accepted(named, *demands):
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
        command = [binary, *(f"--{option}={value}" for option, value in options.items()), *demands, path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={})
        if done.returncode == 0:
            said = json.loads(done.stdout)
            assert said["execution"] == execution_kit.EXECUTION
            assert set(said["log"]) == {"origin", "index", "size"}
            assert {one["signer"] for one in said["releases"].values()} <= {stand.releaser.identity}
            return True
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1), (name, done.stderr)
        return False

    with ThreadPoolExecutor(2) as pool:
        good = dict(zip(files.good, pool.map(accepted, files.good.items()), strict=True))
        bad = pool.map(accepted, ((name, raw) for name, (raw, _) in files.tampered.items()))
        tampered = dict(zip(files.tampered, bad, strict=True))
    assert good == dict.fromkeys(good, True)
    assert tampered == dict.fromkeys(tampered, False)
    for demands, holds in DEMANDS:
        given = ["--tests-passed"] if "tests_passed" in demands else [f"--source={demands['sources'][0]}"]
        assert accepted(("whole", files.good["whole"]), *given) is holds
        assert accepted(("no decision", files.good["no decision"]), *given)
        assert not accepted(("erased", files.good["an erased record"]), *given)
