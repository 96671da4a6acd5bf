"""The form of a Sigstore bundle. That a well-formed one must verify as well is tested with a real Sigstore."""

import base64
import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import Denied
from app.core.evidence_form import MAX_EVIDENCE, MEDIA_TYPE, checked_form
from app.core.reason_codes import Reason

B64 = base64.b64encode(b"some bytes").decode()
GOOD = {
    "mediaType": MEDIA_TYPE,
    "verificationMaterial": {
        "certificate": {"rawBytes": B64},
        "tlogEntries": [
            {
                "logIndex": "7",
                "logId": {"keyId": B64},
                "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
                "integratedTime": "0",
                "inclusionPromise": {"signedEntryTimestamp": B64},
                "inclusionProof": {
                    "logIndex": "7",
                    "rootHash": B64,
                    "treeSize": "9",
                    "hashes": [B64, B64],
                    "checkpoint": {"envelope": "x\n9\ny\n"},
                },
                "canonicalizedBody": B64,
            }
        ],
        "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": B64}]},
    },
    "dsseEnvelope": {"payload": B64, "payloadType": "t", "signatures": [{"sig": B64, "keyid": ""}]},
}


def places(value, path=()):
    """Every place in a document, the document itself first."""
    yield path
    if isinstance(value, dict | list):
        for name, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(below, (*path, name))


def replaced(path, value):
    if not path:
        return value
    document = copy.deepcopy(GOOD)
    at = document
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return document


def check(document):
    return checked_form(document if isinstance(document, bytes) else json.dumps(document).encode(), "signature")


def refused(document):
    with pytest.raises(Denied) as denied:
        check(document)
    assert denied.value.reason == Reason.EVIDENCE_MALFORMED
    assert denied.value.step == "signature"
    assert "\n" not in str(denied.value)


def test_accepted():
    assert check(GOOD) == GOOD
    assert check(json.dumps(GOOD, indent=3, sort_keys=True).encode()) == GOOD  # white space and order mean nothing


@pytest.mark.parametrize("at", ["integratedTime", "inclusionPromise"])
def test_what_a_log_entry_may_lack(at):
    document = copy.deepcopy(GOOD)
    del document["verificationMaterial"]["tlogEntries"][0][at]
    check(document)


WRONG = [None, True, 1, 1.5, -1, "", [], {}, [None], {"x": 1}, [[]], ["a b"]]


@pytest.mark.parametrize("path", list(places(GOOD)), ids=lambda path: ".".join(map(str, path)) or "all")
def test_no_value_of_another_type_raises_anything_else(path):
    for wrong in WRONG:
        document = replaced(path, wrong)
        try:
            check(document)
        except Denied:
            continue
        # What no parser reads twice in different ways may pass here; its meaning is checked after the signature.
        assert (
            path[-1] in {"kind", "version", "envelope", "payloadType", "keyid", "hashes", "rfc3161Timestamps"}
            or (path[-1] in {"timestampVerificationData"} and wrong == {})
            or _empty_base64(path, wrong)
        ), (path, wrong)


def _empty_base64(path, wrong):
    return wrong == "" and path[-1] not in {"logIndex", "treeSize", "integratedTime", "mediaType"}


@pytest.mark.parametrize("path", list(places(GOOD)), ids=lambda path: ".".join(map(str, path)) or "all")
def test_no_unknown_member_anywhere(path):
    at = GOOD
    for name in path:
        at = at[name]
    if isinstance(at, dict):
        refused(replaced(path, {**at, "extra": 1}))
        refused(replaced(path, {**at, next(iter(at)).upper(): next(iter(at.values()))}))


@pytest.mark.parametrize("name", ["tlogEntries", "signatures"])
def test_exactly_one(name):
    path = ("verificationMaterial", name) if name == "tlogEntries" else ("dsseEnvelope", name)
    one = GOOD[path[0]][name][0]
    for wrong in ([], [one, one], [one, {}], {"0": one}):
        refused(replaced(path, wrong))


@pytest.mark.parametrize("number", [7, "07", "+7", "7 ", " 7", "-7", "7.0", "7e0", "0x7", "", "\u0667", "9" * 20, None])
def test_numbers_have_one_spelling(number):
    for path in places(GOOD):
        if path[-1:] in {("logIndex",), ("treeSize",), ("integratedTime",)}:
            refused(replaced(path, number))


@pytest.mark.parametrize("text", [B64[:-1], B64 + "=", B64 + "\n", B64[:4] + " " + B64[4:], B64[:4] + "!" + B64[4:],
                                  "A-_A", "AB==", "AAB=", "=", "\u0041\u0301AA="])  # fmt: skip
def test_base64_has_one_spelling(text):
    for path in places(GOOD):
        if path[-1:] in {("rawBytes",), ("keyId",), ("sig",), ("payload",), ("rootHash",), ("signedTimestamp",),
                         ("canonicalizedBody",), ("signedEntryTimestamp",)}:  # fmt: skip
            refused(replaced(path, text))
    refused(replaced(("verificationMaterial", "tlogEntries", 0, "inclusionProof", "hashes"), [B64, text]))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        json.dumps(GOOD).encode()[:-1] + b', "mediaType": "x"}',
        json.dumps(GOOD).replace('"sig":', '"sig": "", "sig":').encode(),
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        json.dumps(GOOD).encode() + b" " * MAX_EVIDENCE,
        b"[" * 100_000,
    ],
)
def test_not_one_document(raw):
    refused(raw)


@pytest.mark.parametrize(
    "media_type",
    ["", "application/json", MEDIA_TYPE.replace("v0.3", "v0.2"), "application/vnd.dev.sigstore.bundle+json;version=0.3",
     MEDIA_TYPE + " ", MEDIA_TYPE.upper()],
)  # fmt: skip
def test_other_versions(media_type):
    refused(replaced(("mediaType",), media_type))


def test_a_message_signature_is_not_a_statement():
    document = {name: value for name, value in GOOD.items() if name != "dsseEnvelope"}
    refused({**document, "messageSignature": {"messageDigest": {}, "signature": B64}})


def test_a_key_or_a_chain_in_place_of_the_certificate():
    for other in ("publicKey", "x509CertificateChain"):
        material = {k: v for k, v in GOOD["verificationMaterial"].items() if k != "certificate"}
        refused(replaced(("verificationMaterial",), {**material, other: {"hint": "x"}}))
        refused(replaced(("verificationMaterial",), {**GOOD["verificationMaterial"], other: {"hint": "x"}}))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just(B64),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(list(places(GOOD))), VALUES)
def test_nothing_but_denied_is_ever_raised(path, value):
    reason = Reason.EVIDENCE_MALFORMED
    try:
        check(replaced(path, value))
    except Denied as denied:
        reason = denied.reason
    assert reason == Reason.EVIDENCE_MALFORMED
