"""A real release under trust that ended, began later, or is another's."""

import base64
import copy
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from app.core.bundle import digest_of
from app.core.errors import Denied, UsageError
from app.core.evidence import verify_evidence
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig

from .release_kit import places, replaced, signed_release

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def release(sigstore, opa_binary):
    return signed_release(sigstore, opa_binary)


ROOT = {
    "certificate authority": "certificateAuthorities",
    "CT log": "ctlogs",
    "log": "tlogs",
    "timestamps": "timestampAuthorities",
}


def window(entry):
    return entry["publicKey"]["validFor"] if "publicKey" in entry else entry["validFor"]


@pytest.fixture
def trusting(release, tmp_path):
    """The release's trust config with something changed, read as every other is."""

    def trusted(change):
        document = json.loads(release.sigstore.trust_config.read_bytes())
        change(document["trustedRoot"])
        path = tmp_path / "trust-config.json"
        path.write_text(json.dumps(document))
        return TrustConfig.from_file(path)

    return trusted


def moment(**offset):
    return (datetime.now(UTC) + timedelta(**offset)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("part", ROOT)
def test_trust_that_ended_before_the_signature(release, trusting, part):
    ended = trusting(lambda root: window(root[ROOT[part]][0]).update(end=moment(hours=-1)))
    assert release.denial(trust=ended).reason == Reason.EVIDENCE_INVALID
    still = trusting(lambda root: window(root[ROOT[part]][0]).update(end=moment(hours=1)))
    release.verify(trust=still)


@pytest.mark.parametrize("part", ROOT)
@pytest.mark.parametrize("change", ["began after the signature", "is not there"])
def test_trust_that_was_never_given(release, trusting, part, change):
    def changed(root):
        if change == "is not there":
            root[ROOT[part]] = []
        else:
            window(root[ROOT[part]][0]).update(start=moment(hours=1))

    try:
        trust = trusting(changed)
    except UsageError:  # a trust config with which nothing could ever verify
        return
    assert release.denial(trust=trust).reason == Reason.EVIDENCE_INVALID


def spki(key):
    raw = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(raw).decode()


def test_another_key_of_the_log(release, trusting):
    key = spki(ed25519.Ed25519PrivateKey.generate())
    other = trusting(lambda root: root["tlogs"][0]["publicKey"].update(rawBytes=key))
    assert release.denial(trust=other).reason == Reason.EVIDENCE_INVALID


def test_a_log_of_another_name_with_the_same_key(release, trusting):
    other = trusting(lambda root: root["tlogs"][0].update(baseUrl="https://rekor.example.org"))
    denied = release.denial(trust=other)
    assert (denied.reason, denied.field) == (Reason.EVIDENCE_INVALID, "checkpoint.origin")


def test_a_log_that_stands_twice(release, trusting):
    def doubled(root):
        root["tlogs"] = [root["tlogs"][0], copy.deepcopy(root["tlogs"][0])]

    assert release.denial(trust=trusting(doubled)).reason == Reason.EVIDENCE_INVALID


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "hello", '{"mediaType": "x", "mediaType": "x"}', '{"trustedRoot": {}}', '{"a": NaN}']
)
def test_a_trust_config_that_is_none(tmp_path, text):
    path = tmp_path / "trust.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="is not a Sigstore ClientTrustConfig") as error:
        TrustConfig.from_file(path)
    assert "\n" not in str(error.value)
    assert "pydantic" not in str(error.value) and "validation error" not in str(error.value)


def test_no_change_of_a_type_in_a_trust_config_is_a_crash(release, tmp_path):
    """Refused as a file in one line, or it denies, or what was changed does not matter to this release."""
    document = json.loads(release.sigstore.trust_config.read_bytes())
    path, digest = tmp_path / "changed.json", digest_of(release.bundle)
    reasons = set()
    for place in places(document)[1:]:
        for wrong in (None, "x", []):
            path.write_text(json.dumps(replaced(document, place, wrong)))
            said = ""
            try:
                trust = TrustConfig.from_file(path)
                verify_evidence(release.signature, subject=digest, policy=release.policy, trust=trust, step="signature")
            except UsageError as error:
                said = str(error)
            except Denied as denied:
                said = str(denied)
                reasons.add(denied.reason)
            assert "\n" not in said, place
    assert reasons == {Reason.EVIDENCE_INVALID}
