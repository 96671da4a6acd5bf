"""Thousands of random changes to a valid release: none is accepted, none crashes, none takes more than a second.

`PLACET_MUTATIONS` says how many (2,000 in `make test`, 20,000 in `make soak`), `PLACET_SEED` where the chance begins.
"""

import os
import random
import time
from collections import Counter

import pytest

from app.core import archive, statements
from app.core.bundle import digest_of, parse_bundle
from app.core.errors import Denied
from app.core.evidence_form import MAX_EVIDENCE
from app.core.verification import MAX_ATTESTATIONS
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from tests.cases import given

from .release_kit import DEVELOPER, Session, link, provenance, signed_release
from .release_mutation import KINDS, Parts, meaning, mutated

pytestmark = pytest.mark.stack

MUTATIONS = int(os.environ.get("PLACET_MUTATIONS", "2000"))
SEED = int(os.environ.get("PLACET_SEED", "20260131"))
SHARES = 4  # each is a test of its own, so that they run at the same time
LIMIT = 1.0  # seconds of CPU

LEAD = "lead@example.org"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"


def result(of):
    subject = [statements.resource("x.tar.gz", digest_of(of))]
    return statements.statement(subject, TEST_RESULT, {"result": "PASSED", "coverage": 97})


@pytest.fixture(scope="module")
def release(sigstore, opa_binary):
    return signed_release(sigstore, opa_binary)


@pytest.fixture(scope="module")
def policy(release):
    """Under it every piece of the release is needed: two signers, the link and the test result."""
    people = [SignerIdentity(identity=one, issuer=release.sigstore.issuer_url) for one in (DEVELOPER, LEAD)]
    condition = "is_number(input.predicate.coverage)\ninput.predicate.coverage >= 90"
    required = [statements.LINK, {"type": TEST_RESULT, "condition": condition}]
    return VerificationPolicy(identities=people, minimum_signers=2, required_predicates=required)


@pytest.fixture(scope="module")
def both(release):
    """Two releases of the same two signers, of different bundles."""
    lead = Session(release.sigstore, release.trust, LEAD)

    def whole(policy, limit):
        raw = archive.write_archive(
            {
                ".manifest": b'{"revision":"r1",' + given.MANIFEST[1:],
                "app/a.rego": policy,
                "app/b.rego": b"package app\n\nlimit := data.app.limits.most\n",
                "app/limits/data.json": b'{"most": %d, "names": ["a", {"b": null}]}' % limit,
            }
        )
        signed = [release.session.sign(one) for one in (provenance(raw), link(raw), result(raw))]
        return Parts(raw, signed[0], (*signed[1:], lead.sign(provenance(raw))))

    return whole(given.POLICY, 100), whole(b"package app\n\ndefault allow := true\n", 7)


def test_what_is_changed_here_verifies(release, policy, both):
    for parts in both:
        release.verify(bundle=parts.bundle, signature=parts.signature, attestations=parts.attestations, policy=policy)


def refusal(call):
    """The denial that the call ends with, if it does. Anything else that it raises fails the test."""
    try:
        call()
    except Denied as denied:
        return denied
    return None


@pytest.mark.parametrize("share", range(SHARES))
def test_no_change_is_accepted(release, policy, both, share, record_property):
    parts, others = both
    chance = random.Random(SEED * 1000 + share)
    verdicts, kinds, slowest = Counter(), Counter(), 0.0
    for number in range(MUTATIONS // SHARES):
        state = f"PLACET_SEED={SEED}, share {share}, change {number}"
        kind, changed = mutated(parts, others, chance)
        kinds[kind] += 1
        began = time.thread_time()
        denied = refusal(
            lambda changed=changed: release.verify(
                bundle=changed.bundle, signature=changed.signature, attestations=changed.attestations, policy=policy
            )
        )
        verdict = str(denied.reason) if denied else "void"
        if denied:
            assert "\n" not in str(denied), state
            assert denied.step, f"{state}: {denied}"
            assert denied.field, f"{state}: {denied}"
        # What an allowed signer could have signed all the same: the archive's readers see it then.
        if changed.bundle != parts.bundle and (unread := refusal(lambda changed=changed: parse_bundle(changed.bundle))):
            verdicts[f"archive: {unread.reason}"] += 1
            assert "\n" not in str(unread), state
        spent = time.thread_time() - began
        assert spent < LIMIT, f"{state} ({kind}) took {spent:.2f} s"
        slowest = max(slowest, spent)
        if verdict == "void":
            assert meaning(changed) == meaning(parts), f"{state} ({kind}) was accepted"
        verdicts[verdict] += 1
    record_property("mutations", MUTATIONS // SHARES)
    record_property("slowest_ms", round(slowest * 1000))
    for verdict, count in sorted(verdicts.items()):
        record_property(verdict, count)
    # The changes reach what they are meant to reach.
    assert set(kinds) == set(KINDS)
    assert verdicts["void"] < MUTATIONS // SHARES / 10
    assert {"evidence.malformed", "evidence.invalid", "evidence.subject", "archive: archive.malformed"} <= set(verdicts)


def test_evidence_of_any_size_is_refused_at_once(release, both):
    parts, _ = both
    for changed in (b"[" * MAX_EVIDENCE, b'{"a":' * 100_000, b"0" * MAX_EVIDENCE, b" " * (MAX_EVIDENCE + 1)):
        began = time.thread_time()
        denied = release.denial(signature=changed, bundle=parts.bundle)
        assert time.thread_time() - began < LIMIT
        assert denied.field == "bundle"
    assert release.denial(attestations=[b"x"] * (MAX_ATTESTATIONS + 1)).step == "attestations"
