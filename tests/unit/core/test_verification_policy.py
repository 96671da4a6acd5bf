import pytest

from app.core.errors import Denied, UsageError
from app.core.reason_codes import Reason
from app.core.verification_policy import RequiredPredicate, SignerIdentity, SignerPattern, VerificationPolicy

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


FULL = r"""
identities:
  - {identity: lead@example.org, issuer: https://accounts.example.org}
  - pattern: ^https://github\.com/acme/policy/\.github/workflows/release\.yml@refs/tags/v[0-9]+$
    issuer: https://token.actions.githubusercontent.com
minimum_signers: 2
required_predicates:
  - https://slsa.dev/provenance/v1
  - type: https://in-toto.io/attestation/test-result/v0.1
    condition: |
      input.predicate.result == "PASSED"
      count(input.predicate.failedTests) == 0
allowed_builtins: [rand.intn]
"""


def test_all_that_a_policy_can_ask_for(load):
    policy = load(FULL)
    lead, jobs = policy.identities
    assert (type(lead), type(jobs)) == (SignerIdentity, SignerPattern)
    assert (policy.minimum_signers, policy.allowed_builtins) == (2, ["rand.intn"])
    plain, tested = policy.requirements
    assert plain == RequiredPredicate(type="https://slsa.dev/provenance/v1")
    assert tested.condition.splitlines()[1] == "count(input.predicate.failedTests) == 0"
    policy.require_somebody()
    # What the control plane stores is the same policy.
    assert VerificationPolicy.model_validate(policy.model_dump(mode="json", exclude_defaults=True)) == policy


@pytest.mark.parametrize("identities", ["[1, 1]", "[1]", "[1, 2]", "[1, 3]", "[3, 2]"])
def test_more_signers_than_are_listed(load, identities):
    """One person with two issuers, or written in two ways, is one signer."""
    listed = identities.replace("1", "{identity: a@b.c, issuer: x}").replace("2", "{identity: a@b.c, issuer: y}")
    listed = listed.replace("3", "{identity: A@B.c, issuer: x}")
    with pytest.raises(Denied) as denied:
        load(f"identities: {listed}\nminimum_signers: 2").require_somebody()
    assert (denied.value.reason, denied.value.field) == (Reason.EVIDENCE_SIGNERS, "minimum_signers")


PLACES = {
    "identities: [{identity: a}]": "identities.0.issuer: Field required",
    "identities: [{identity: a, issuer: b}, {pattern: 'x', issuer: b}]": "identities.1.pattern: a pattern begins with",
    "identities: [{pattern: '^[a-z]+@a.b$', issuer: b}]": "identities.0.pattern: character 10 of the pattern, '.'",
    "identities: [{pattern: '^[a-z]+@a$', identity: a, issuer: b}]": "identities.0.identity: there is no such member",
    "identities: []\nrequired_predicates: [{type: x, condition: ' '}]": "required_predicates.0.condition: ",
    "identities: []\nrequired_predicates: [a, {type: 5}]": "required_predicates.1.type: Input should be a valid string",
    "identities: []\nrequired_predicates: ['']": "required_predicates.0: String should have at least 1 character",
    "identities: []\nminimum_signers: 0": "minimum_signers: Input should be greater than",
}


@pytest.mark.parametrize("text", PLACES)
def test_the_place_of_a_mistake_is_as_the_author_knows_it(load, text):
    with pytest.raises(UsageError) as error:
        load(text)
    assert f"policy.yaml: {PLACES[text]}" in str(error.value)


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
    "a minimum of none": GOOD + "minimum_signers: 0\n",
    "a minimum below none": GOOD + "minimum_signers: -1\n",
    "a minimum that is a truth": GOOD + "minimum_signers: yes\n",
    "a minimum that is text": GOOD + "minimum_signers: '2'\n",
    "a minimum that is a fraction": GOOD + "minimum_signers: 1.5\n",
    "a minimum of null": GOOD + "minimum_signers: null\n",
    "a pattern that is not anchored": "identities: [{pattern: '[a-z]+@a', issuer: b}]",
    "a pattern and a name": "identities: [{pattern: '^[a-z]+@a$', identity: a, issuer: b}]",
    "a pattern without issuer": "identities: [{pattern: '^[a-z]+@a$'}]",
    "a pattern of a mode's signer": GOOD + "shadow: [{pattern: '^[a-z]+@a$', issuer: b}]\n",
    "an identity with a control character": 'identities: [{identity: "a\\0", issuer: b}]',
    "an identity on two lines": 'identities: [{identity: "a\\nb", issuer: b}]',
    "an empty condition": "identities: []\nrequired_predicates: [{type: a, condition: ''}]",
    "a blank condition": 'identities: []\nrequired_predicates: [{type: a, condition: "  \\n"}]',
    "a condition without a type": "identities: []\nrequired_predicates: [{condition: 'true'}]",
    "a condition that is a truth": "identities: []\nrequired_predicates: [{type: a, condition: true}]",
    "a builtin that is null": GOOD + "allowed_builtins: [null]\n",
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
    with pytest.raises(UsageError, match="--certificate-identity: must be one line of printable characters"):
        VerificationPolicy.of("a\0", "b", None)
