"""Proof files against the real Sigstore: good ones verify, every kind of tampering is refused for its own reason."""

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core import statements
from app.core.errors import Denied
from app.core.proof import LogEntry, verify
from app.core.proof_form import Proof, ReleaseEvidence
from app.core.proof_policy import ProofPolicy
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from cli.main import main
from tests.soon import soon

from .proof_demands import demanded
from .proof_kit import ended_trust, good_proofs, signed, tampered
from .proof_parts import COMMIT, ENTRIES, LIBRARY, MANY, NAMES, OTHER_SIDECAR, POLICY, STATE
from .proof_stand import RELEASER, SIDECAR, Stand
from .release_kit import places, replaced, without

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    with Stand(tmp_path_factory.mktemp("stand")) as one:
        yield one


@pytest.fixture(scope="module")
def prove(stand):
    """Verify a proof, with something of the policy changed."""

    def verified(raw, **changed):
        given = {
            "sidecars": VerificationPolicy(identities=[stand.sidecar]),
            "releases": VerificationPolicy(identities=[stand.releaser]),
            "lineage": stand.trust,
            "trust": stand.trust,
            **changed,
        }
        with soon():
            return verify(Proof.read(raw), **given)

    return verified


@pytest.fixture(scope="module")
def denial(prove):
    def denied(raw, **changed):
        with pytest.raises(Denied) as error:
            prove(raw, **changed)
        assert "\n" not in str(error.value)
        return error.value

    return denied


@pytest.fixture(scope="module")
def good(stand):
    return good_proofs(stand)


# ---- what is proved ----------------------------------------------------------------------------------------


def test_a_decision_that_was_allowed(stand, prove, good):
    proven = prove(good["allow"])
    assert proven.sequence == 0
    assert proven.sidecar == SignerIdentity(identity=SIDECAR, issuer=stand.issuer.url)
    assert (proven.decision.decision_id, proven.decision.allow) == ("00000000-0000-4000-8000-000000000000", True)
    assert (proven.decision.policy, proven.decision.library, proven.decision.state) == (POLICY, LIBRARY, STATE)
    assert proven.record == ENTRIES[0]
    assert abs(proven.not_after - datetime.now(UTC)) < timedelta(hours=2)
    assert proven.log.origin == "127.0.0.1"
    assert 0 <= proven.log.index < proven.log.size
    release = proven.release
    assert (release.digest, release.signer) == (POLICY, SignerIdentity(identity=RELEASER, issuer=stand.releaser.issuer))
    assert [str(one) for one in release.commits] == [f"git+https://git.example.org/policies@{COMMIT}"]
    assert [name for name, _ in release.files] == ["payments/authz.rego"]
    assert [(one.result, one.signer) for one in release.tests] == [("PASSED", stand.releaser)]
    assert release.predicates == (statements.PROVENANCE, statements.LINK, statements.TEST_RESULT)


def test_every_place_in_a_batch(prove, good):
    for index, name in enumerate(NAMES):
        proven = prove(good[name])
        assert (proven.sequence, proven.record) == (index, ENTRIES[index])
    for index in (0, 511, 512, 999):
        proven = prove(good[f"thousand-{index}"])
        assert (proven.sequence, proven.record) == (7 + index, MANY[index])
    assert prove(good["single"]).sequence == 1007


def test_what_each_entry_says(prove, good):
    allows = {name: prove(good[name]).decision for name in NAMES}
    assert {name: entry and (entry.allow, entry.policy) for name, entry in allows.items()} == {
        "allow": (True, POLICY),
        "deny": (False, POLICY),
        "message": None,
        "no-policy": (False, None),
        "start": (True, POLICY),
        "deep": (True, POLICY),
        "last": (True, POLICY),
    }
    assert prove(good["message"]).release is prove(good["no-policy"]).release is None


def test_an_erased_record_still_proves_that_something_was_there(stand, prove, good):
    proven, whole = prove(good["erased"]), prove(good["allow"])
    assert (proven.record, proven.decision, proven.release) == (None, None, None)
    assert (proven.sequence, proven.batch, proven.log) == (whole.sequence, whole.batch, whole.log)
    assert prove(good["erased-single"]).sequence == 1007
    assert isinstance(proven.log, LogEntry)


def test_a_release_needs_no_more_than_its_signature(prove, good):
    release = prove(good["one-statement"]).release
    assert (release.predicates, release.tests) == ((statements.PROVENANCE,), ())


# ---- tampering ---------------------------------------------------------------------------------------------

#: What PROOF.md found that libraries let pass, and what a forger would try first.
DEMANDED = {
    "batch: logIndex",
    "batch: treeSize",
    "batch: rootHash",
    "batch: another origin",
    "batch: another origin, signed anew",
    "batch: a larger checkpoint, signed anew",
    "batch: log id",
    "batch: a promise",
    "batch: a late second timestamp",
    "batch: junk in the base64 of the payload",
    "batch: an unknown member of the log entry",
    "batch: another media type",
    "bytes: treeSize twice",
    "bytes: pretty",
    "tree: a path that is too short",
    "tree: a path that is too long",
    "tree: another index",
    "tree: another salt",
    "tree: another record",
    "batch: one of one more entry",
    "batch: one another sidecar's",
    "batch: one in another sidecar's name",
    "release: one of another policy",
    "form: an erased record with its salt",
}


def test_every_tampering_is_refused_for_its_own_reason(stand, denial):
    bad = tampered(stand)
    assert set(bad) >= DEMANDED
    assert (
        not {name.replace("batch: ", "release: ") for name in DEMANDED if "batch: " in name}
        - set(bad)
        - {
            f"release: {name}"
            for name in ("one of one more entry", "one another sidecar's", "one in another sidecar's name")
        }
    )
    found = {name: denial(raw).reason for name, (raw, _) in bad.items()}
    assert found == {name: reason for name, (_, reason) in bad.items()}
    assert set(Counter(found.values())) >= {
        Reason.PROOF_MALFORMED,
        Reason.PROOF_LEAF,
        Reason.PROOF_PATH,
        Reason.PROOF_BATCH,
        Reason.PROOF_POLICY,
        Reason.BATCH_MALFORMED,
        Reason.EVIDENCE_INVALID,
        Reason.EVIDENCE_IDENTITY,
        Reason.EVIDENCE_SUBJECT,
    }


def test_the_denial_says_where(stand, denial):
    bad = tampered(stand)
    for name, step in (
        ("tree: another salt", "leaf"),
        ("tree: another index", "path"),
        ("batch: logIndex", "decision batch"),
        ("release: logIndex", "release.evidence[0]"),
        ("attestation: logIndex", "release.evidence[1]"),
        ("release: one of another policy", "release"),
        ("form: without leaf", "proof"),
    ):
        assert denial(bad[name][0]).step == step, name


def test_every_member_is_needed_and_of_one_form(prove, good):
    document = json.loads(good["message"])
    survived = []

    def attempt(changed, place):
        raw = json.dumps(changed, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        try:
            prove(raw)
            survived.append(place)
        except Denied:
            return

    for place in places(document)[1:]:
        attempt(without(document, place), place)
        value = document
        for name in place:
            value = value[name]
        for wrong in (None, True, 0, "", "0", "A", [], {}, [value], {"a": value}):
            if wrong != value:
                attempt(replaced(document, place, wrong), (*place, wrong))
    # Protobuf's default, spelled or left out: the same Sigstore bundle (tests/integration/test_release_mutations.py).
    assert [place[-1] for place in survived] == ["integratedTime"]


def test_random_bytes_of_the_file(prove, good):
    chance = random.Random(20261126)
    survived = []
    for name in ("allow", "message", "erased-single"):
        stamps = [range(*hit.span()) for hit in re.finditer(rb'"signedTimestamp":"[^"]*"', good[name])]
        for _ in range(150):
            raw = bytearray(good[name])
            changed = [chance.randrange(len(raw)) for _ in range(chance.choice([1, 1, 1, 3]))]
            for where in changed:
                raw[where] ^= 1 << chance.randrange(8)
            # What is void in a timestamp: tests/integration/test_release_mutations.py changes every bit of one.
            if all(any(where in stamp for stamp in stamps) for where in changed):
                continue
            try:
                prove(bytes(raw))
                survived.append((name, changed))
            except Denied:
                continue
    assert survived == []


# ---- who and what is trusted -------------------------------------------------------------------------------


def test_identities_are_compared_exactly(stand, denial, good):
    for change in (
        {"identity": SIDECAR[:-1]},
        {"identity": SIDECAR + "b"},
        {"identity": SIDECAR.replace("/a", "/b")},
        {"identity": SIDECAR.replace("spiffe", "SPIFFE")},
        {"identity": ".*"},
        {"issuer": stand.sigstore.issuer_url},
        {"issuer": stand.issuer.url + "/"},
    ):
        policy = VerificationPolicy(identities=[stand.sidecar.model_copy(update=change)])
        assert denial(good["allow"], sidecars=policy).reason == Reason.EVIDENCE_IDENTITY
    for change in ({"identity": "ev@example.org"}, {"identity": SIDECAR}, {"issuer": stand.issuer.url}):
        policy = VerificationPolicy(identities=[stand.releaser.model_copy(update=change)])
        denied = denial(good["allow"], releases=policy)
        assert (denied.reason, denied.step) == (Reason.EVIDENCE_IDENTITY, "release.evidence[0]")


def test_who_signs_releases_signs_no_batches(stand, denial, good):
    policies = {"sidecars": VerificationPolicy(identities=[stand.releaser])}
    assert denial(good["allow"], **policies).reason == Reason.EVIDENCE_IDENTITY


def test_nobody_may_sign(denial, good):
    nobody = VerificationPolicy(identities=[])
    assert denial(good["allow"], sidecars=nobody).reason == Reason.EVIDENCE_POLICY_EMPTY
    assert denial(good["allow"], releases=nobody).reason == Reason.EVIDENCE_POLICY_EMPTY


def test_a_sidecar_speaks_for_itself_alone_where_several_may_sign(stand, prove, denial):
    bad = tampered(stand)
    both = VerificationPolicy(
        identities=[stand.sidecar, SignerIdentity(identity=OTHER_SIDECAR, issuer=stand.issuer.url)]
    )
    assert denial(bad["batch: one in another sidecar's name"][0], sidecars=both).reason == Reason.PROOF_BATCH
    # The other one's own batch of the same entries is its own, and is told as such.
    assert prove(bad["batch: one another sidecar's"][0], sidecars=both).sidecar.identity == OTHER_SIDECAR


def test_what_the_policy_requires_of_a_release(stand, prove, denial, good):
    required = VerificationPolicy(identities=[stand.releaser], required_predicates=[statements.TEST_RESULT])
    prove(good["allow"], releases=required)
    denied = denial(good["one-statement"], releases=required)
    assert (denied.reason, denied.field) == (Reason.EVIDENCE_INCOMPLETE, statements.TEST_RESULT)
    conditional = [{"type": statements.TEST_RESULT, "condition": "true"}]
    required = VerificationPolicy(identities=[stand.releaser], required_predicates=conditional)
    assert denial(good["allow"], releases=required).reason == Reason.EVIDENCE_CONDITION


def test_what_must_be_proved_of_source_and_tests(stand, prove):
    """A signature says who signed; that tests passed, only a result that says so, and a commit only a clean one."""
    found, expected = {}, {}
    for name, one in demanded(stand).items():
        policy = ProofPolicy(sidecars=[], tests_passed=one.wanted.tests_passed, sources=list(one.wanted.sources))
        prove(one.raw)
        expected[name] = (one.reason, one.step)
        try:
            prove(one.raw, demands=policy.demands())
            found[name] = (None, None)
        except Denied as denied:
            found[name] = (denied.reason, denied.step)
    assert found == expected
    assert {reason for reason, _ in found.values()} == {None, Reason.EVIDENCE_INCOMPLETE, Reason.EVIDENCE_CONDITION}


def test_the_answer_says_what_is_not_proved(stand, prove):
    said = {
        name.partition(": ")[2]: (one.release.source_known, one.release.tests_passed)
        for name, given in demanded(stand).items()
        if (one := prove(given.raw)).release
    }
    assert said["built, passed"] == (True, True)
    assert said["built, warned"] == said["built, failed"] == said["built, passed, failed"] == (True, False)
    assert said["built with changes"] == said["built of nothing"] == (False, False)


def test_trust_that_ended(stand, prove, denial, good, tmp_path):
    path = tmp_path / "trust.json"
    for ended, holds in ((ended_trust(stand), False), (ended_trust(stand, hours=1), True)):
        for part, raw in ended.items():
            path.write_bytes(raw)
            trust = TrustConfig.from_file(path)
            if holds:
                prove(good["allow"], trust=trust, lineage=trust)
                continue
            batch, release = denial(good["allow"], lineage=trust), denial(good["allow"], trust=trust)
            assert (batch.reason, batch.step) == (Reason.EVIDENCE_INVALID, "decision batch"), part
            assert (release.reason, release.step) == (Reason.EVIDENCE_INVALID, "release.evidence[0]"), part


def test_a_proof_of_much_evidence_and_a_large_record(stand, prove, denial):
    one = Proof.read(good_proofs(stand)["allow"])
    many = replace(one, release=ReleaseEvidence(POLICY, (signed(stand).release[0], *[signed(stand).release[1]] * 64)))
    assert len(prove(many.write()).release.predicates) == 65
    large = replace(one, record=b"x" * 8 * 1024 * 1024)
    assert denial(large.write()).reason == Reason.PROOF_LEAF


# ---- the command -------------------------------------------------------------------------------------------

#: Refuses whatever could reach a network, before Placet is imported.
OFFLINE = """
import sys
def refuse(event, arguments):
    if event.startswith("socket.") and event not in ("socket.gethostname",):
        raise RuntimeError(f"the network: {event} {arguments}")
sys.addaudithook(refuse)
from cli.main import main
sys.argv[0] = "placet"
main()
"""


@pytest.fixture(scope="module")
def files(stand, good, tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    for name, raw in good.items():
        (directory / f"{name}.json").write_bytes(raw)
    (directory / "empty.json").write_bytes(b"")
    (directory / "altered.json").write_bytes(tampered(stand)["batch: logIndex"][0])
    said = {name.partition(": ")[2]: one.raw for name, one in demanded(stand).items()}
    for name, which in (("covered", "built, passed"), ("failed", "built, failed"), ("changed", "built with changes")):
        (directory / f"{name}.json").write_bytes(said[which])
    policy = {"sidecars": [stand.sidecar.model_dump()], "releases": [stand.releaser.model_dump()]}
    (directory / "policy.yaml").write_text(json.dumps(policy))
    (directory / "demanding.yaml").write_text(json.dumps({**policy, "tests_passed": True}))
    (directory / "trust.json").write_bytes(stand.trust_config.read_bytes())
    return directory


@pytest.fixture
def placet(files, monkeypatch, capsys):
    """Run `placet` in this process: exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.chdir(files)
        monkeypatch.setattr(sys, "argv", ["placet", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def offline(files, script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=files,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
    )


def options(stand):
    return [
        *("--certificate-identity", SIDECAR, "--certificate-oidc-issuer", stand.issuer.url),
        *("--release-identity", RELEASER, "--release-oidc-issuer", stand.sigstore.issuer_url),
    ]


def test_verify_needs_no_network(stand, files):
    arguments = ("--trust-config", "trust.json", *options(stand), "--output", "json")
    done = offline(files, OFFLINE, "proof", "verify", "allow.json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["proved"] is True
    done = offline(files, OFFLINE, "proof", "verify", "altered.json", *arguments)
    assert done.returncode == 3
    # And the hook does what it is there for.
    connecting = OFFLINE.split("from cli")[0] + "import socket\nsocket.create_connection(('127.0.0.1', 1))"
    assert "RuntimeError: the network" in offline(files, connecting).stderr


def test_verify_prints_what_was_proved(stand, placet):
    arguments = ("--trust-config", "trust.json", *options(stand), "--output", "json")
    code, out, err = placet("proof", "verify", "allow.json", *arguments)
    assert (code, err) == (0, "")
    proved = json.loads(out)
    assert (proved["proved"], proved["sequence"], proved["record"]) == (True, 0, "a decision")
    assert proved["decision"] == {"id": "00000000-0000-4000-8000-000000000000", "allow": True}
    assert proved["sidecar"] == {"identity": SIDECAR, "issuer": stand.issuer.url}
    assert (proved["bundle"], proved["library"], proved["state"]) == (POLICY, LIBRARY, STATE)
    assert proved["release"]["signer"] == {"identity": RELEASER, "issuer": stand.sigstore.issuer_url}
    source = {"uri": "git+https://git.example.org/policies", "commit": COMMIT, "changed": False}
    assert proved["release"]["sources"] == [source]
    assert [(one["result"], one["coverage"]) for one in proved["release"]["tests"]] == [("PASSED", None)]
    assert proved["release"]["proved"] == {"source": True, "tests_passed": True}
    assert set(proved["log"]) == {"origin", "index", "size"}
    erased = json.loads(placet("proof", "verify", "erased.json", *arguments)[1])
    assert {erased[name] for name in ("decision", "bundle", "library", "state", "release")} == {None}
    assert (erased["record"], erased["sequence"]) == ("erased", 0)


def rows(text):
    return {line[:15].strip(): line[15:].strip() for line in text.splitlines()}


def test_verify_prints_a_table(placet):
    verify = ("--trust-config", "trust.json", "--policy", "policy.yaml", "--lineage-trust-config", "trust.json")
    code, out, err = placet("proof", "verify", "deny.json", *verify)
    assert (code, err) == (0, "")
    table = rows(out)
    assert (table["proved"], table["record"], table["allow"]) == ("yes", "a decision", "no")
    assert table["sequence"] == f"1 of instance {'0f' * 16}"
    assert table["tests"] == "PASSED (says dev@example.org)"
    assert table["source"] == f"git+https://git.example.org/policies@{COMMIT}, 1 file by digest"
    erased = rows(placet("proof", "verify", "erased.json", *verify)[1])
    assert erased["record"] == "erased"
    assert {erased[name] for name in ("decision", "allow", "bundle", "signer", "source", "tests")} == {"not shown"}
    assert rows(placet("proof", "verify", "one-statement.json", *verify)[1])["tests"] == "not shown"
    assert (
        rows(placet("proof", "verify", "message.json", *verify)[1])["record"] == "no decision, but a message of OPA's"
    )
    for name, source, tests in (
        (
            "covered",
            f"git+https://git.example.org/policies@{COMMIT}, 1 file by digest",
            "PASSED, 97.5 % covered (says dev@example.org)",
        ),
        (
            "failed",
            f"git+https://git.example.org/policies@{COMMIT}, 1 file by digest",
            "not proved to have passed: FAILED (says dev@example.org)",
        ),
        (
            "changed",
            f"no commit is proved: git+https://git.example.org/policies@{COMMIT} with changes, 1 file by digest",
            "not shown",
        ),
    ):
        table = rows(placet("proof", "verify", f"{name}.json", *verify)[1])
        assert (table["proved"], table["source"], table["tests"]) == ("yes", source, tests)


def test_what_is_demanded_is_denied_where_it_is_not_proved(stand, placet):
    verify = ("proof", "verify", "failed.json", "--trust-config", "trust.json")
    said = (
        "placet: denied: evidence.condition: the tests did not pass: FAILED (step release.evidence[1], tests_passed)\n"
    )
    assert placet(*verify, *options(stand), "--tests-passed") == (3, "", said)
    assert placet(*verify, "--policy", "demanding.yaml") == (3, "", said)
    source = ("--source", f"git+https://git.example.org/policies@{COMMIT}")
    assert placet(*verify, *options(stand), *source)[0] == 0
    code, _, err = placet(*verify, *options(stand), "--source", "git+https://git.example.org/other")
    assert (code, "evidence.condition: built from" in err) == (3, True)


def test_a_trusted_root_may_stand_alone(stand, files, placet):
    root = json.loads(stand.trust_config.read_bytes())["trustedRoot"]
    (files / "trusted_root.json").write_text(json.dumps(root))
    roots = ("--trust-config", "trusted_root.json", "--lineage-trust-config", "trusted_root.json")
    assert placet("proof", "verify", "allow.json", *roots, *options(stand))[0] == 0
    assert placet("proof", "verify", "altered.json", *roots, *options(stand))[0] == 3
    for wrong in ({}, {**root, "tlogs": []}, {"trustedRoot": root}):
        (files / "no_root.json").write_text(json.dumps(wrong))
        code, _, err = placet("proof", "verify", "allow.json", "--trust-config", "no_root.json", *options(stand))
        assert (code, "is not a Sigstore ClientTrustConfig or trusted root" in err) == (2, True)


def test_verify_denies(stand, placet):
    verify = ("proof", "verify", "altered.json", "--trust-config", "trust.json", *options(stand))
    said = "placet: denied: evidence.invalid: logIndex is not the proof's (step decision batch)\n"
    assert placet(*verify) == (3, "", said)
    code, out, _ = placet(*verify, "--output", "json")
    assert code == 3
    assert {name: json.loads(out)[name] for name in ("proved", "reason", "step")} == {
        "proved": False,
        "reason": "evidence.invalid",
        "step": "decision batch",
    }
    code, out, err = placet("proof", "verify", "empty.json", "--trust-config", "trust.json", *options(stand))
    assert (code, out) == (3, "")
    assert err.startswith("placet: denied: proof.malformed: not JSON")


def test_wrong_usage(stand, placet):
    trust = ("--trust-config", "trust.json")
    for said, *arguments in (
        ("say which sidecar may sign", "allow.json", *trust),
        ("say who may sign it", "allow.json", *trust, *options(stand)[:4]),
        ("not both", "allow.json", *trust, *options(stand), "--policy", "policy.yaml"),
        ("not both", "allow.json", *trust, "--policy", "policy.yaml", "--tests-passed"),
        ("need --release-identity", "allow.json", *trust, *options(stand)[:4], "--tests-passed"),
        ("--source: a source is git+https://", "allow.json", *trust, *options(stand), "--source", "git+https://h"),
        ("cannot read the proof", "nowhere.json", *trust, *options(stand)),
        ("cannot read the trust config", "allow.json", "--trust-config", "nowhere.json", *options(stand)),
        ("is not a Sigstore ClientTrustConfig", "allow.json", "--trust-config", "policy.yaml", *options(stand)),
        ("--trust-config", "allow.json", *options(stand)),
    ):
        code, out, err = placet("proof", "verify", *arguments)
        assert (code, out) == (2, ""), arguments
        assert said in err


def test_an_erased_proof_needs_nobody_who_signs_releases(stand, placet):
    code, _, _ = placet("proof", "verify", "erased.json", "--trust-config", "trust.json", *options(stand)[:4])
    assert code == 0


def test_show(placet):
    shown = json.loads(placet("proof", "show", "allow.json", "--output", "json")[1])
    assert shown["verified"].startswith("no")
    assert (shown["sequence"], shown["sidecar"], shown["allow"], shown["evidence"]) == (0, SIDECAR, True, 3)
    assert placet("proof", "show", "last.json", "--record")[1].encode() == ENTRIES[6] + b"\n"
    assert "erased" in placet("proof", "show", "erased.json")[1]
    assert placet("proof", "show", "erased.json", "--record")[0] == 2
    assert placet("proof", "show", "policy.yaml")[0] == 3
    # Of an altered one all is shown that its form allows.
    assert placet("proof", "show", "altered.json")[0] == 0
