import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import attestation_claims, layout_form, statements, strict_yaml
from app.core.errors import Denied, UsageError
from app.core.evidence_form import MEDIA_TYPE

values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)
words = st.sampled_from(["_type", "subject", "predicate", "predicateType", "name", "digest", "sha256"])
statement = st.dictionaries(words, values | st.dictionaries(words, values) | st.lists(st.dictionaries(words, values)))


def wrapped(payload):
    """A Sigstore bundle of the right form around any payload; nothing in it is signed."""
    some = base64.b64encode(b"x").decode()
    proof = {"logIndex": "0", "rootHash": some, "treeSize": "1", "hashes": [], "checkpoint": {"envelope": "x"}}
    entry = {
        "logIndex": "0",
        "logId": {"keyId": some},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
        "inclusionProof": proof,
        "canonicalizedBody": some,
    }
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": statements.PAYLOAD_TYPE,
        "signatures": [{"sig": some}],
    }
    material = {"certificate": {"rawBytes": some}, "tlogEntries": [entry]}
    return json.dumps({"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}).encode()


def test_what_a_link_claims():
    link = statements.link("build", command=[], materials=[], products=[statements.resource("x", "a" * 64)])
    claim = attestation_claims.claimed(wrapped(link))
    assert claim == attestation_claims.Claim(statements.LINK, ("sha256:" + "a" * 64,), "build")


@given(statement)
def test_any_statement_claims_something_or_nothing(document):
    claim = attestation_claims.claimed(wrapped(json.dumps(document).encode()))
    assert all(one.startswith("sha256:") for one in claim.subjects)
    assert claim.step is None or claim.predicate_type == statements.LINK


@given(st.binary(max_size=200))
def test_any_bytes_are_denied_or_claim_nothing(raw):
    assert attestation_claims.claimed(wrapped(raw or b" ")).step is None
    with pytest.raises(Denied):
        attestation_claims.claimed(raw)


#: Layouts that are nearly right: a good one with anything in one or two places.
_GOOD = {"layout": "x", "expires": "2027-01-01T00:00:00Z", "steps": []}
_STEP = {
    "name": "build",
    "functionaries": [{"identity": "a", "issuer": "b"}],
    "threshold": 1,
    "expected_materials": [["DISALLOW", "*"]],
    "expected_products": [["DISALLOW", "*"]],
}
steps = st.dictionaries(st.sampled_from([*_STEP, "other"]), values, max_size=2).map(lambda wrong: _STEP | wrong)
layouts = st.builds(
    lambda wrong, some: _GOOD | {"steps": some} | wrong,
    st.dictionaries(st.sampled_from([*_GOOD, "inspect"]), values, max_size=1),
    st.lists(steps, max_size=3),
)


@given(layouts | values)
def test_any_document_is_a_closed_layout_or_refused_in_one_line(tmp_path_factory, document):
    path = tmp_path_factory.getbasetemp() / "layout.yaml"
    path.write_text(strict_yaml.dump(document), encoding="utf-8")
    said = ""
    layout = None
    try:
        layout = layout_form.load(path)
    except UsageError as error:
        said = str(error)
    assert "\n" not in said
    if layout is None:
        return
    for step in layout.steps:
        assert 1 <= step.threshold <= len(step.functionaries)
        assert step.expected_materials[-1] == step.expected_products[-1] == ["DISALLOW", "*"]
    assert len(layout.digest) == len("sha256:") + 64
