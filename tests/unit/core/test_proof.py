"""The form of proof files and of the policies for them; tests/integration/test_proof.py verifies real ones."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import proof_form, proof_release, strict_json
from app.core.errors import Denied, UsageError
from app.core.proof_form import Proof, ReleaseEvidence
from app.core.proof_policy import ProofPolicy
from app.core.proof_release import NOTHING, Commit, Demands, WantedSource
from app.core.reason_codes import Reason
from app.core.verification import MAX_ATTESTATIONS
from app.core.verification_policy import SignerIdentity

COMMIT = "4f" * 20
DIGEST = f"sha256:{'a' * 64}"
PROOF = Proof(
    record=b'{"decision_id":"d"}',
    salt=bytes(16),
    leaf=bytes(range(32)),
    index=5,
    path=(bytes(32), b"\xff" * 32),
    batch=b'{"b":"1"}',
    release=ReleaseEvidence(DIGEST, (b'{"e":"1"}', b'{"e":"2"}')),
)


def denial(raw):
    with pytest.raises(Denied) as denied:
        Proof.read(raw)
    assert denied.value.reason == Reason.PROOF_MALFORMED
    assert "\n" not in str(denied.value)
    return str(denied.value)


def test_the_file_is_as_documented():
    assert json.loads(PROOF.write()) == {
        "format": "https://placet.dev/proof/v1",
        "record": "eyJkZWNpc2lvbl9pZCI6ImQifQ==",
        "salt": "AAAAAAAAAAAAAAAAAAAAAA==",
        "leaf": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "index": "5",
        "path": ["0" * 64, "f" * 64],
        "batch": {"b": "1"},
        "release": {"digest": DIGEST, "evidence": [{"e": "1"}, {"e": "2"}]},
    }


def test_it_reads_what_it_wrote():
    erased = replace(PROOF, record=None, salt=None, release=None)
    for one in (PROOF, erased, replace(PROOF, release=None), replace(PROOF, record=b"", path=())):
        assert Proof.read(one.write()) == one
        assert one.write() == strict_json.canonical(json.loads(one.write()))


@given(st.binary(max_size=100), st.integers(0, 10**17), st.lists(st.binary(min_size=32, max_size=32), max_size=64))
def test_any_record_is_kept_byte_for_byte(record, index, path):
    one = replace(PROOF, record=record, index=index, path=tuple(path))
    assert Proof.read(one.write()) == one


@given(st.binary(max_size=50).filter(lambda raw: raw != b"}"))
def test_no_bytes_are_a_crash(raw):
    denial(raw)
    denial(PROOF.write()[:-1] + raw)


def test_too_large(monkeypatch):
    monkeypatch.setattr(proof_form, "MAX_PROOF", len(PROOF.write()) - 1)
    assert "larger than" in denial(PROOF.write())


def test_all_evidence_of_a_release_fits():
    assert proof_form.MAX_PIECES == 1 + MAX_ATTESTATIONS


@pytest.mark.parametrize("number", ["1.50", "9007199254740993", "-1e5", "1e400"])
def test_numbers_that_rfc_8785_writes_otherwise_or_not_at_all(number):
    denial(PROOF.write().replace(b'"b":"1"', b'"b":%b' % number.encode()))


def test_what_provenance_says_of_sources():
    commit = {"uri": "git+https://git.example.org/p", "digest": {"gitCommit": "4f1c"}}
    named = {"name": "p", "digest": {"gitCommit": "4f1d", "sha256": "a"}}
    revision = {"uri": "git+https://git.example.org/p@4f1e", "digest": {"gitCommit": "4f1e"}}
    file = {"name": "a.rego", "digest": {"sha256": "b" * 64}}
    provenance = {"buildDefinition": {"resolvedDependencies": [commit, named, revision, file]}}
    shown = ["git+https://git.example.org/p@4f1c", "p@4f1d", "git+https://git.example.org/p@4f1e"]
    assert [str(one) for one in proof_release.commits(provenance)] == shown
    assert proof_release.files(provenance) == (("a.rego", f"sha256:{'b' * 64}"),)
    for odd in ({}, {"buildDefinition": []}, {"buildDefinition": {"resolvedDependencies": {}}}):
        assert proof_release.commits(odd) == proof_release.files(odd) == ()
    unnamed = [{"uri": odd, "name": "p", "digest": {"gitCommit": "4f1f"}} for odd in (7, 0, False, [], ["p"], {})]
    hashes = [{"uri": "p", "digest": {"gitCommit": odd}} for odd in (None, 7, ["4f1f"])]
    for entries, said in ((unnamed, "@4f1f"), (hashes, "p@")):
        odd = {"buildDefinition": {"resolvedDependencies": entries}}
        assert {str(one) for one in proof_release.commits(odd)} == {said}
    odd_entries = [1, None, {}, {"digest": 1}, {"digest": {}}, {"digest": {"sha512": "x"}}]
    odd = {"buildDefinition": {"resolvedDependencies": odd_entries}}
    assert proof_release.commits(odd) == proof_release.files(odd) == ()


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("git+https://git.example.org/p", "git+https://git.example.org/p"),
        ("git+https://git.example.org/p", "git+https://git.example.org/p@refs/heads/main"),
        (f"git+https://git.example.org/p@{COMMIT}", f"git+https://git.example.org/p@{COMMIT}"),
        (f"git+git@git.example.org:acme/p.git@{COMMIT}", f"git+git@git.example.org:acme/p.git@{COMMIT}"),
    ],
)
def test_a_source_is_a_repository_of_any_revision(wanted, place):
    assert WantedSource.read(wanted).covers(Commit(place, COMMIT, changed=False))
    assert not WantedSource.read(wanted).covers(Commit(place, COMMIT, changed=True))
    assert not WantedSource.read(wanted).covers(Commit(place, "main", changed=False))
    assert not WantedSource.read(wanted).covers(Commit(f"{place}x" if "@" not in place[5:] else "x", COMMIT, False))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://git.example.org/p",
        "git+https://git.example.org",
        "git+https://git.example.org/",
        "git+https://git.example.org@evil.example.org/p",
        "git+https://git.example.org/p@main",
        "git+https://git.example.org/p@4f1c",
        f"git+https://git.example.org/p@{COMMIT}\n",
        "git+https://git.example.org/p q",
        "git+/home/p",
    ],
)
def test_what_names_no_source(text):
    with pytest.raises(ValueError, match="a source is git"):
        WantedSource.read(text)


# ---- who may sign ------------------------------------------------------------------------------------------

SIDECAR = SignerIdentity(identity="spiffe://example.org/sidecar/payments/a", issuer="https://placet.example.org")
PERSON = SignerIdentity(identity="dev@example.org", issuer="https://accounts.example.org")
PAIRS = ((SIDECAR.identity, SIDECAR.issuer), (PERSON.identity, PERSON.issuer))
NOBODY = (None, None)


def test_a_policy_of_options():
    policy = ProofPolicy.of(*PAIRS, None)
    assert (policy.of_sidecars().identities, policy.of_releases().identities) == ([SIDECAR], [PERSON])
    assert ProofPolicy.of(PAIRS[0], NOBODY, None).of_releases().identities == []
    assert policy.demands() == NOTHING
    source = f"git+https://git.example.org/p@{COMMIT}"
    demanding = ProofPolicy.of(*PAIRS, None, tests_passed=True, sources=[source])
    assert demanding.demands() == Demands(True, (WantedSource("git+https://git.example.org/p", COMMIT),))


@pytest.mark.parametrize(
    ("sidecar", "release"),
    [
        (NOBODY, NOBODY),
        (NOBODY, PAIRS[1]),
        ((SIDECAR.identity, None), PAIRS[1]),
        ((None, SIDECAR.issuer), PAIRS[1]),
        (PAIRS[0], (PERSON.identity, None)),
        (PAIRS[0], (None, PERSON.issuer)),
        (("", ""), NOBODY),
    ],
)
def test_half_a_policy_of_options(sidecar, release):
    with pytest.raises(UsageError) as error:
        ProofPolicy.of(sidecar, release, None)
    assert "\n" not in str(error.value)


def test_a_policy_of_a_file(tmp_path):
    file = tmp_path / "proof.yaml"
    file.write_text(
        "sidecars: [{identity: spiffe://example.org/sidecar/payments/a, issuer: https://placet.example.org}]\n"
        "releases: [{identity: dev@example.org, issuer: https://accounts.example.org}]\n"
        "required_predicates: [https://slsa.dev/provenance/v1]\n"
        "tests_passed: true\n"
        "sources: [git+https://git.example.org/p]\n"
    )
    policy = ProofPolicy.of(NOBODY, NOBODY, file)
    assert (policy.sidecars, policy.releases) == ([SIDECAR], [PERSON])
    assert policy.of_releases().required_predicates == ["https://slsa.dev/provenance/v1"]
    assert policy.demands() == Demands(True, (WantedSource("git+https://git.example.org/p", None),))
    with pytest.raises(UsageError, match="not both"):
        ProofPolicy.of(PAIRS[0], NOBODY, file)
    with pytest.raises(UsageError, match="not both"):
        ProofPolicy.of(NOBODY, NOBODY, file, tests_passed=True)
    with pytest.raises(UsageError, match="whose word"):
        ProofPolicy.of(PAIRS[0], NOBODY, None, sources=["git+https://git.example.org/p"])
    with pytest.raises(UsageError, match=r"^--source: a source is git"):
        ProofPolicy.of(*PAIRS, None, sources=["git.example.org/p"])


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[]",
            "sidecars: a",
            "sidecars: [{identity: a}]",
            "identities: []",
            "sidecars: []\nmore: 1",
            "a: [",
            "\0",
        ),
        *("sidecars: []\nsources: [git.example.org/p]", "sidecars: []\ntests_passed: PASSED"),
    ],
)
def test_a_file_that_is_no_policy(tmp_path, text):
    file = tmp_path / "proof.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        ProofPolicy.of(NOBODY, NOBODY, file)
    assert "\n" not in str(error.value)


def test_nobody_may_sign_when_the_file_names_nobody(tmp_path):
    file = tmp_path / "proof.yaml"
    file.write_text("sidecars: []\n")
    with pytest.raises(Denied) as denied:
        ProofPolicy.of(NOBODY, NOBODY, file).of_sidecars().require_somebody()
    assert denied.value.reason == Reason.EVIDENCE_POLICY_EMPTY
