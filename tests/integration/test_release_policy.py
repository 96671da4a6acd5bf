"""What a verification policy can ask for, over a release that a real Sigstore signed."""

import base64
import json

import pytest

from app.core import statements
from app.core.bundle import digest_of
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity, SignerPattern, VerificationPolicy

from .release_kit import DEVELOPER, Session, at, link, provenance, replaced, signed_release

pytestmark = pytest.mark.stack

TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
LEAD, ROBOT = "lead@example.org", "spiffe://example.org/release/one"


@pytest.fixture(scope="module")
def release(sigstore, opa_binary):
    return signed_release(sigstore, opa_binary)


@pytest.fixture(scope="module")
def lead(release):
    return Session(release.sigstore, release.trust, LEAD)


def listed(release, *names, **members):
    issuer = release.sigstore.issuer_url
    entries = [
        SignerPattern(pattern=one, issuer=issuer)
        if one.startswith("^")
        else SignerIdentity(identity=one, issuer=issuer)
        for one in names
    ]
    return VerificationPolicy(identities=entries, **members)


def result(of, **predicate):
    return statements.statement([statements.resource("x.tar.gz", digest_of(of))], TEST_RESULT, predicate)


# ---- patterns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern", [r"^[a-z]+@example\.org$", r"^(dev|lead)@example\.org$", r"^de[^/]{1,9}@example\.org$"]
)
def test_a_pattern_of_who_signed(release, pattern):
    verified = release.verify(policy=listed(release, pattern))
    assert verified.signer == SignerIdentity(identity=DEVELOPER, issuer=release.sigstore.issuer_url)
    assert verified.signature.listed == SignerPattern(pattern=pattern, issuer=release.sigstore.issuer_url)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[a-z]+@example\.com$",
        r"^[a-z]+@xample\.org$",
        r"^[a-c]+@example\.org$",
        r"^[A-Z]+@example\.org$",
        r"^d[a-z]@example\.org$",
        r"^x?dev[0-9]@example\.org$",
        r"^spiffe://example\.org/[a-z]+$",
    ],
)
def test_a_pattern_of_somebody_else(release, pattern):
    denied = release.denial(policy=listed(release, pattern))
    assert (denied.reason, denied.step, denied.field) == (
        Reason.EVIDENCE_IDENTITY, "signature", "certificate.identity",
    )  # fmt: skip
    assert DEVELOPER in str(denied)
    assert pattern in str(denied)


def test_a_pattern_holds_for_one_issuer(release):
    other = SignerPattern(pattern=r"^[a-z]+@example\.org$", issuer=release.sigstore.issuer_url + "/")
    assert release.denial(policy=VerificationPolicy(identities=[other])).reason == Reason.EVIDENCE_IDENTITY


# ---- several signers -------------------------------------------------------------------------------------------


def test_two_who_signed(release, lead):
    countersigned = lead.sign(provenance(release.bundle))
    for names in (
        [DEVELOPER, LEAD],
        [r"^[a-z]+@example\.org$", LEAD],
        [r"^d[a-z]+@example\.org$", r"^l[a-z]+@example\.org$"],
    ):
        policy = listed(release, *names, minimum_signers=2)
        assert release.verify(policy=policy, attestations=[countersigned]).signer.identity == DEVELOPER
        assert release.verify(policy=policy, signature=countersigned, attestations=[release.signature])


def test_one_is_not_two(release, lead):
    """Neither twice the same signature, nor a second one of the same person, nor two people under one pattern, nor
    one whose name is written in two ways."""
    again = release.session.sign(provenance(release.bundle))
    loud = Session(release.sigstore, release.trust, "DEV@example.org").sign(provenance(release.bundle))
    both = listed(release, DEVELOPER, LEAD, minimum_signers=2)
    pattern = listed(release, r"^[a-z]+@example\.org$", ROBOT, minimum_signers=2)
    for policy, attestations in [
        (both, []),
        (both, [release.signature]),
        (both, [release.signature, again]),
        (pattern, [lead.sign(provenance(release.bundle))]),
        (listed(release, DEVELOPER, r"^d[a-z]+@example\.org$", minimum_signers=2), [again]),
        (listed(release, DEVELOPER, r"^[A-Z]+@example\.org$", minimum_signers=2), [loud]),
    ]:
        denied = release.denial(policy=policy, attestations=attestations)
        assert (denied.reason, denied.step, denied.field) == (Reason.EVIDENCE_SIGNERS, "signers", "minimum_signers")


def test_an_attestation_of_another_type_is_no_signature(release, lead):
    policy = listed(release, DEVELOPER, LEAD, minimum_signers=2)
    for other in (link(release.bundle), result(release.bundle, result="PASSED")):
        assert release.denial(policy=policy, attestations=[lead.sign(other)]).reason == Reason.EVIDENCE_SIGNERS


def test_a_signature_of_another_bundle_is_none_of_this(release, lead):
    policy = listed(release, DEVELOPER, LEAD, minimum_signers=2)
    denied = release.denial(policy=policy, attestations=[lead.sign(provenance(release.other))])
    assert (denied.reason, denied.step) == (Reason.EVIDENCE_SUBJECT, "attestations[0]")


def test_a_signer_who_is_not_listed_denies(release, lead):
    policy = listed(release, DEVELOPER, ROBOT, minimum_signers=2)
    denied = release.denial(policy=policy, attestations=[lead.sign(provenance(release.bundle))])
    assert (denied.reason, denied.step) == (Reason.EVIDENCE_IDENTITY, "attestations[0]")


# ---- conditions ------------------------------------------------------------------------------------------------

COVERED = "is_number(input.predicate.coverage)\ninput.predicate.coverage >= 90"


def test_a_condition_on_what_was_attested(release):
    asked = listed(release, DEVELOPER, required_predicates=[{"type": TEST_RESULT, "condition": COVERED}])
    good = release.session.sign(result(release.bundle, result="PASSED", coverage=90))
    bad = release.session.sign(result(release.bundle, result="PASSED", coverage=89))
    text = release.session.sign(result(release.bundle, result="PASSED", coverage="100"))
    release.verify(policy=asked, attestations=[good])
    for attestations in ([bad], [text], [good, bad], [bad, good]):
        denied = release.denial(policy=asked, attestations=attestations)
        assert (denied.reason, denied.field) == (Reason.EVIDENCE_CONDITION, "required_predicates[0].condition")
    denied = release.denial(policy=asked)
    assert (denied.reason, denied.field) == (Reason.EVIDENCE_INCOMPLETE, "required_predicates[0]")


def test_a_condition_on_the_provenance_is_one_on_every_signature(release, lead):
    built = f'input.predicate.runDetails.builder.id == "{statements.BUILDER}"'
    asked = {"required_predicates": [{"type": statements.PROVENANCE, "condition": built}]}
    release.verify(policy=listed(release, DEVELOPER, LEAD, **asked))
    elsewhere = provenance(release.bundle).replace(statements.BUILDER.encode(), b"https://example.org/builder")
    denied = release.denial(policy=listed(release, DEVELOPER, LEAD, **asked), attestations=[lead.sign(elsewhere)])
    assert denied.reason == Reason.EVIDENCE_CONDITION
    assert "attestations[0]" in denied.detail


# ---- every denial says where -------------------------------------------------------------------------------------


def test_every_denial_has_a_code_a_step_and_a_place(release):
    manifest = b'{"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/nothing"}}}'
    from tests.cases import given

    def signed(raw):
        return {"bundle": raw, "signature": release.session.sign(provenance(raw)), "attestations": []}

    def module(source):
        return given.gzip.compress(given.tar((".manifest", given.MANIFEST), ("app.rego", source)), mtime=0)

    denials = [
        ("policy", "identities", release.denial(policy=VerificationPolicy(identities=[]))),
        ("policy", "minimum_signers", release.denial(policy=listed(release, DEVELOPER, minimum_signers=2))),
        ("signature", "bundle", release.denial(signature=b"")),
        ("attestations", "attestations[64]", release.denial(attestations=[release.attestation] * 65)),
        ("signers", "minimum_signers", release.denial(policy=listed(release, DEVELOPER, LEAD, minimum_signers=2))),
        (
            "required_predicates",
            "required_predicates[0]",
            release.denial(policy=listed(release, DEVELOPER, required_predicates=["x"])),
        ),
        ("bundle", "bundle", release.denial(**signed(b"not a bundle"))),
        ("bundle", "../x", release.denial(**signed(given.bundle(("../x", b""))))),
        ("bundle", "roots", release.denial(**signed(given.bundle_with(b"{}")))),
        ("rego", "metadata.placet.entrypoint", release.denial(**signed(given.bundle_with(manifest)))),
        ("rego", "app.rego", release.denial(**signed(module(b"package app\n\nallow if {")))),
        ("rego", "app.rego", release.denial(**signed(module(b"package app\n\nallow if nothing(1)\n")))),
        ("rego", "app.rego", release.denial(**signed(module(b"package other\n\nallow := true\n")))),
        ("rego", "app.rego", release.denial(**signed(module(b'package app\n\nallow if sprintf("%p", [1]) == ""\n')))),
    ]
    assert [(denied.step, denied.field) for _, _, denied in denials] == [(step, field) for step, field, _ in denials]
    for _, _, denied in denials:
        assert all(denied.as_dict().values())
        assert denied.as_dict().keys() >= {"reason", "step", "field", "detail"}


ENTRY = ("verificationMaterial", "tlogEntries", 0)
#: What is changed, and what does not verify then: of two things that must fit, the one that is compared.
PLACES = {
    ("verificationMaterial", "certificate", "rawBytes"): "certificate.chain",
    (
        "verificationMaterial",
        "timestampVerificationData",
        "rfc3161Timestamps",
        0,
        "signedTimestamp",
    ): "rfc3161Timestamps",
    ("dsseEnvelope", "signatures", 0, "sig"): "rfc3161Timestamps",
    ("dsseEnvelope", "payload"): "signatures",
    (*ENTRY, "canonicalizedBody"): "inclusionProof",
    (*ENTRY, "inclusionProof", "rootHash"): "inclusionProof",
    (*ENTRY, "logId", "keyId"): "logId.keyId",
}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place[-1]))
def test_a_denial_names_the_member_that_does_not_verify(release, place):
    document = json.loads(release.signature)
    raw = bytearray(base64.b64decode(at(document, place)))
    raw[-1] ^= 1
    changed = replaced(document, place, base64.b64encode(raw).decode())
    denied = release.denial(signature=json.dumps(changed).encode())
    assert denied.reason in (Reason.EVIDENCE_INVALID, Reason.EVIDENCE_MALFORMED)
    assert (denied.step, denied.field) == ("signature", PLACES[place]), str(denied)
