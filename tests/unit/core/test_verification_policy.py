import pytest

from app.core.errors import Denied, UsageError
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity, VerificationPolicy

GOOD = """
identities:
  - {identity: ci@example.org, issuer: https://accounts.example.org}
required_predicates: [https://in-toto.io/attestation/test-result/v0.1]
"""


@pytest.fixture
def load(tmp_path):
    def loaded(text):
        path = tmp_path / "policy.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return VerificationPolicy.load(path)

    return loaded


def test_a_policy(load):
    policy = load(GOOD)
    assert policy.identities == [SignerIdentity(identity="ci@example.org", issuer="https://accounts.example.org")]
    assert policy.required_predicates == ["https://in-toto.io/attestation/test-result/v0.1"]
    policy.require_somebody()


def test_json_is_yaml(load):
    load('{"identities": [{"identity": "a", "issuer": "b"}]}')


@pytest.mark.parametrize("text", ["identities: []", "identities: []\nrequired_predicates: []"])
def test_an_empty_policy_denies(load, text):
    with pytest.raises(Denied) as denied:
        load(text).require_somebody()
    assert denied.value.reason == Reason.EVIDENCE_POLICY_EMPTY


@pytest.mark.parametrize(
    "identity", [".*", "^ci@example\\.org$", "*@example.org", "ci@example.org|x", " ci@example.org "]
)
def test_what_looks_like_a_pattern_stays_text(load, identity):
    [signer] = load(f"identities: [{{identity: '{identity}', issuer: i}}]").identities
    assert signer.identity == identity


REFUSED = {
    "nothing": "",
    "a list": "[]",
    "text": "hello",
    "no identities": "required_predicates: []",
    "identities twice": GOOD + "identities: []\n",
    "an issuer twice": "identities: [{identity: a, issuer: b, issuer: c}]",
    "an unknown member": GOOD + "identity_regexp: .*\n",
    "a misspelt member": "identities: [{identity: a, isuer: b}]",
    "an unknown member of an identity": "identities: [{identity: a, issuer: b, subject: c}]",
    "an identity without issuer": "identities: [{identity: a}]",
    "an empty identity": "identities: [{identity: '', issuer: b}]",
    "an empty issuer": "identities: [{identity: a, issuer: ''}]",
    "an identity of null": "identities: [{identity: null, issuer: b}]",
    "an identity that is a number": "identities: [{identity: 5, issuer: b}]",
    "an identity that is a date": "identities: [{identity: 2026-01-01, issuer: b}]",
    "an identity that is a truth": "identities: [{identity: yes, issuer: b}]",
    "identities of null": "identities: null",
    "a predicate that is null": GOOD.replace("[https://in-toto.io/attestation/test-result/v0.1]", "[null]"),
    "an impossible date": "identities: 2026-99-99",
    "a wrong integer": "identities: !!int x",
    "a wrong timestamp": "identities: !!timestamp x",
    "a wrong truth": "identities: !!bool x",
    "a Python object": "identities: !!python/object/apply:os.system ['true']",
    "a list as a key": "{[a]: 1}",
    "two documents": "identities: []\n---\nidentities: []\n",
    "not UTF-8": b"identities: [\xff]",
    "a tab": "identities:\n\t- x",
    "nested without end": "[" * 5000,
    "an alias of itself": "identities: &a [*a]",
    "too large": "#" * (256 * 1024 + 1),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.timeout(20)
def test_refused_in_one_line(load, name):
    with pytest.raises(UsageError) as error:
        load(REFUSED[name])
    assert "\n" not in str(error.value)


def test_aliases_that_multiply(load):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(UsageError):
        load("\n".join([*lines, "identities: *i"]))


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        VerificationPolicy.load(tmp_path / "none.yaml")


def test_the_options(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    assert VerificationPolicy.of(None, None, path) == VerificationPolicy.load(path)
    assert VerificationPolicy.of("a", "b", None).identities == [SignerIdentity(identity="a", issuer="b")]
    for options in [(None, None, None), ("a", None, None), (None, "b", None), ("", "b", None), ("a", "b", path)]:
        with pytest.raises(UsageError):
            VerificationPolicy.of(*options)
