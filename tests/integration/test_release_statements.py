"""A real release: what it is about, what was signed with it, and who signed."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from app.core import statements, strict_json
from app.core.bundle import digest_of
from app.core.evidence_form import MAX_EVIDENCE
from app.core.reason_codes import Reason
from app.core.signing import SigningSession
from app.core.verification import MAX_ATTESTATIONS, split_attestations
from app.core.verification_policy import SignerIdentity, VerificationPolicy

from .release_kit import DEVELOPER, bundle, link, provenance, signed_release

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def release(sigstore, opa_binary):
    return signed_release(sigstore, opa_binary)


# ---- the release itself ------------------------------------------------------------------------------------


def test_a_verified_release(release):
    verified = release.verify()
    assert verified.digest == digest_of(release.bundle)
    assert verified.signer == SignerIdentity(identity=DEVELOPER, issuer=release.sigstore.issuer_url)
    assert abs(verified.signed_at - datetime.now(UTC)) < timedelta(hours=2)
    assert verified.provenance["predicateType"] == statements.PROVENANCE
    assert [one.predicate_type for one in verified.attestations] == [statements.LINK]
    assert verified.attestations[0].raw == release.attestation


def test_without_attestations_when_none_is_required(release):
    assert release.verify(attestations=[]).attestations == ()


# ---- another artifact, another statement ---------------------------------------------------------------------


def test_another_bundle(release):
    denied = release.denial(bundle=release.other)
    assert (denied.reason, denied.step) == (Reason.EVIDENCE_SUBJECT, "signature")


def test_a_bundle_changed_after_it_was_signed(release):
    for where in (0, 10, len(release.bundle) // 2, len(release.bundle) - 1):
        changed = bytearray(release.bundle)
        changed[where] ^= 1
        assert release.denial(bundle=bytes(changed)).reason == Reason.EVIDENCE_SUBJECT


def test_nothing_of_an_unsigned_bundle_is_parsed(release, monkeypatch):
    from app.core import verification

    monkeypatch.setattr(verification, "parse_bundle", lambda _: pytest.fail("parsed before it was verified"))
    assert release.denial(signature=b"").reason == Reason.EVIDENCE_MISSING
    assert release.denial(bundle=b"junk").reason == Reason.EVIDENCE_SUBJECT
    assert release.denial(attestations=[b"{}"]).reason == Reason.EVIDENCE_MALFORMED


def test_the_signature_of_another_bundle(release):
    assert release.denial(signature=release.other_signature).reason == Reason.EVIDENCE_SUBJECT


def test_an_attestation_in_place_of_the_signature(release):
    denied = release.denial(signature=release.attestation)
    assert (denied.reason, denied.field) == (Reason.EVIDENCE_PREDICATE, "predicateType")


def test_an_attestation_about_another_bundle_is_not_skipped(release):
    denied = release.denial(attestations=[release.attestation, release.other_signature])
    assert (denied.reason, denied.step) == (Reason.EVIDENCE_SUBJECT, "attestations[1]")


def test_an_attestation_that_does_not_verify_is_not_skipped(release):
    broken = release.attestation.replace(b'"payload": "', b'"payload": "A').replace(b'"payload":"', b'"payload":"A')
    assert release.denial(attestations=[broken]).step == "attestations[0]"
    assert release.denial(attestations=[b"{}"]).reason == Reason.EVIDENCE_MALFORMED


def test_too_many_attestations(release):
    many = split_attestations((release.attestation + b"\n") * (MAX_ATTESTATIONS + 500))
    assert len(many) <= MAX_ATTESTATIONS + 2
    assert release.denial(attestations=many).reason == Reason.EVIDENCE_MALFORMED
    large = release.denial(attestations=[b" " * MAX_EVIDENCE] * 9)
    assert (large.reason, large.step, large.field) == (Reason.EVIDENCE_MALFORMED, "attestations", "attestations")


def test_attestations_are_one_a_line(release):
    assert split_attestations(b"") == split_attestations(b"\n\n \n") == []
    assert split_attestations(b"a\nb\n") == [b"a", b"b"]
    assert len(split_attestations(b"x\n" * 1_000_000)) == MAX_ATTESTATIONS + 2


def test_what_the_policy_requires(release):
    required = [statements.LINK, statements.PROVENANCE]
    release.verify(policy=release.allow(required_predicates=required))
    denied = release.denial(policy=release.allow(required_predicates=required), attestations=[])
    assert (denied.reason, denied.field) == (Reason.EVIDENCE_INCOMPLETE, "required_predicates[0]")
    other = release.allow(required_predicates=["https://in-toto.io/attestation/test-result/v0.1"])
    assert release.denial(policy=other).reason == Reason.EVIDENCE_INCOMPLETE
    for near in (statements.LINK.upper(), statements.LINK + "/", statements.LINK[:-2]):
        assert release.denial(policy=release.allow(required_predicates=[near])).reason == Reason.EVIDENCE_INCOMPLETE


STATEMENT = json.loads(provenance(bundle()))


def canonical(**change):
    return strict_json.canonical({**STATEMENT, **change})


#: What an allowed signer signed: the bundle that goes with it, the statement, and why it is denied (None: verifies).
SIGNED = {
    "another version of SLSA": (
        bundle(),
        canonical(predicateType="https://slsa.dev/provenance/v0.2"),
        Reason.EVIDENCE_PREDICATE,
    ),
    "about another artifact": (
        bundle(),
        canonical(subject=[{"name": "x", "digest": {"sha256": "0" * 64}}]),
        Reason.EVIDENCE_SUBJECT,
    ),
    "about a SHA-512": (
        bundle(),
        canonical(subject=[{"name": "x", "digest": {"sha512": "0" * 128}}]),
        Reason.EVIDENCE_MALFORMED,
    ),
    "a digest with its algorithm before it": (
        bundle(),
        canonical(subject=[{"name": "x", "digest": {"sha256": digest_of(bundle())}}]),
        Reason.EVIDENCE_MALFORMED,
    ),
    "the start of a digest": (
        bundle(),
        canonical(subject=[{"name": "x", "digest": {"sha256": digest_of(bundle())[7:15]}}]),
        Reason.EVIDENCE_MALFORMED,
    ),
    "one subject of several": (
        bundle(),
        canonical(subject=[{"name": "y", "digest": {"sha256": "0" * 64}}, *STATEMENT["subject"]]),
        None,
    ),
    "a member twice": (
        bundle(),
        json.dumps(STATEMENT)[:-1].encode() + b', "predicateType": "x"}',
        Reason.EVIDENCE_MALFORMED,
    ),
    "a member in another case": (
        bundle(),
        json.dumps({**STATEMENT, "PredicateType": "x"}).encode(),
        Reason.EVIDENCE_MALFORMED,
    ),
    "a bundle of bad form": (b"junk", provenance(b"junk"), Reason.ARCHIVE_MALFORMED),
    "a bundle that OPA refuses": (bundle("allow := {"), provenance(bundle("allow := {")), Reason.REGO_COMPILE),
    "a bundle without its entrypoint": (bundle("x := 1"), provenance(bundle("x := 1")), Reason.MANIFEST_ENTRYPOINT),
}


@pytest.fixture(scope="module")
def signatures(release):
    """Signed at once: each waits about a second for its log entry."""
    with ThreadPoolExecutor(len(SIGNED)) as pool:
        return dict(zip(SIGNED, pool.map(lambda one: release.session.sign(one[1]), SIGNED.values()), strict=True))


@pytest.mark.parametrize("name", SIGNED)
def test_what_an_allowed_signer_signed(release, signatures, name):
    raw, _, reason = SIGNED[name]
    parts = {"bundle": raw, "signature": signatures[name], "attestations": []}
    if reason is None:
        release.verify(**parts)
    else:
        assert release.denial(**parts).reason == reason


# ---- identities ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "identity",
    [
        "dev@example.or",
        "dev@example.org.evil.test",
        "xdev@example.org",
        "ev@example.org",
        "Dev@example.org",
        "dev@EXAMPLE.ORG",
        "dev@example.org ",
        " dev@example.org",
        ".*",
        ".*@example\\.org",
        "dev@example?org",
        "*",
        "d\u0435v@example.org",
        "https://example.org/dev@example.org",
    ],
)
def test_identities_are_compared_exactly(release, identity):
    denied = release.denial(policy=release.allow(identity))
    assert denied.reason == Reason.EVIDENCE_IDENTITY
    assert DEVELOPER in denied.detail


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url + "/",
        lambda url: url[:-1],
        lambda url: "https" + url[4:],
        lambda url: url.upper(),
        lambda url: "https://accounts.example.org",
        lambda url: ".*",
    ],
)
def test_the_right_identity_by_another_issuer(release, change):
    policy = release.allow(issuer=change(release.sigstore.issuer_url))
    assert release.denial(policy=policy).reason == Reason.EVIDENCE_IDENTITY


def test_identity_and_issuer_of_different_entries_do_not_add_up(release):
    mixed = [
        SignerIdentity(identity=DEVELOPER, issuer="https://other.example.org"),
        SignerIdentity(identity="other@example.org", issuer=release.sigstore.issuer_url),
    ]
    assert release.denial(policy=VerificationPolicy(identities=mixed)).reason == Reason.EVIDENCE_IDENTITY
    both = VerificationPolicy(identities=[*mixed, *release.policy.identities])
    assert release.verify(policy=both).signer == release.policy.identities[0]


def test_nobody_may_sign(release):
    assert release.denial(policy=VerificationPolicy(identities=[])).reason == Reason.EVIDENCE_POLICY_EMPTY


def test_another_signer_of_the_same_bundle(release):
    session = SigningSession(release.trust, release.sigstore.token("other@example.org"))
    theirs = session.sign(provenance(release.bundle))
    assert release.denial(signature=theirs).reason == Reason.EVIDENCE_IDENTITY
    # Nor may somebody else attest: an attestation that does not verify denies the release.
    foreign = session.sign(link(release.bundle))
    assert release.denial(attestations=[foreign]).reason == Reason.EVIDENCE_IDENTITY
    # And what a statement says of its author counts for nothing.
    claim = {**STATEMENT, "predicate": {**STATEMENT["predicate"], "identity": DEVELOPER}}
    assert release.denial(signature=session.sign(strict_json.canonical(claim))).reason == Reason.EVIDENCE_IDENTITY
