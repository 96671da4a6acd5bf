"""The form of proof files and of the policies for them; tests/integration/test_proof.py verifies real ones."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import proof_form, strict_json
from app.core.errors import Denied, UsageError
from app.core.proof import sources
from app.core.proof_form import Proof, ReleaseEvidence
from app.core.proof_policy import ProofPolicy
from app.core.reason_codes import Reason
from app.core.verification import MAX_ATTESTATIONS
from app.core.verification_policy import SignerIdentity

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


def test_what_provenance_says_ofsources():
    commit = {"uri": "git+https://git.example.org/p", "digest": {"gitCommit": "4f1c"}}
    named = {"name": "p", "digest": {"gitCommit": "4f1d", "sha256": "a"}}
    file = {"name": "a.rego", "digest": {"sha256": "b" * 64}}
    provenance = {"buildDefinition": {"resolvedDependencies": [commit, named, file]}}
    assert sources(provenance) == (
        ("git+https://git.example.org/p@4f1c", "p@4f1d"),
        (("a.rego", f"sha256:{'b' * 64}"),),
    )
    for odd in ({}, {"buildDefinition": []}, {"buildDefinition": {"resolvedDependencies": {}}}):
        assert sources(odd) == ((), ())
    odd_entries = [1, None, {}, {"digest": 1}, {"digest": {}}, {"digest": {"sha512": "x"}}]
    assert sources({"buildDefinition": {"resolvedDependencies": odd_entries}}) == ((), ())


# ---- who may sign ------------------------------------------------------------------------------------------

SIDECAR = SignerIdentity(identity="spiffe://example.org/sidecar/payments/a", issuer="https://placet.example.org")
PERSON = SignerIdentity(identity="dev@example.org", issuer="https://accounts.example.org")
PAIRS = ((SIDECAR.identity, SIDECAR.issuer), (PERSON.identity, PERSON.issuer))
NOBODY = (None, None)


def test_a_policy_of_options():
    policy = ProofPolicy.of(*PAIRS, None)
    assert (policy.of_sidecars().identities, policy.of_releases().identities) == ([SIDECAR], [PERSON])
    assert ProofPolicy.of(PAIRS[0], NOBODY, None).of_releases().identities == []


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
    )
    policy = ProofPolicy.of(NOBODY, NOBODY, file)
    assert (policy.sidecars, policy.releases) == ([SIDECAR], [PERSON])
    assert policy.of_releases().required_predicates == ["https://slsa.dev/provenance/v1"]
    with pytest.raises(UsageError, match="not both"):
        ProofPolicy.of(PAIRS[0], NOBODY, file)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "sidecars: a", "sidecars: [{identity: a}]", "identities: []", "sidecars: []\nmore: 1", "a: [", "\0"],
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
