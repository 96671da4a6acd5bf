"""Why the static check refuses what it refuses: an OPA that runs as at a sidecar remembers, and tells of itself."""

import random

import pytest

from app.core import archive, determinism, strict_json
from app.core.opa import Opa
from app.local.replay_opa import ReplayOpa

from .delegation_kit import Key

#: What a policy could say, refused and accepted.
MODULES = {
    "named.rego": """package app.named

decision := io.jwt.decode_verify(input.token, {"cert": input.cert, "alg": input.alg, "time": 1})[0]
""",
    "compared.rego": """package app.compared

decision if {
	[true, header, _] = io.jwt.decode_verify(input.token, {"cert": input.cert, "time": 1})
	header.alg == input.alg
}
""",
    "globs.rego": """package app.globs

decision := glob.match(input.pattern, input.delimiters, input.text)
""",
    "fixed.rego": """package app.fixed

decision := [
	glob.match(input.pattern, [".", ":"], input.text),
	glob.match(input.pattern, [], input.text),
	glob.match(input.pattern, null, input.text),
]
""",
    "system.rego": """package app.system

decision := data.system.version.version
""",
    "prefixes.rego": """package app.prefixes

decision := [[strings.any_prefix_match(one, input.b), strings.any_suffix_match(one, input.b)] | some one in input.a]
""",
}


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


@pytest.fixture
def asked(opa):
    """Asks a new OPA for the decision of one of the packages."""
    files = {name: text.encode() for name, text in MODULES.items()}
    manifest = strict_json.canonical({"roots": ["app"], "rego_version": 1})
    serving = ReplayOpa(opa, archive.write_archive({".manifest": manifest, **files}))

    def ask(package, **given):
        answer = serving.client.post(f"/v1/data/app/{package}/decision", json={"input": given})
        assert answer.status_code == 200
        return answer.json().get("result")

    yield ask
    serving.close()


def test_which_of_them_are_refused(opa):
    sources = {name: text.encode() for name, text in MODULES.items()}
    found = {one.file for one in determinism.all_findings(opa.inspect(sources), sources, opa)}
    assert found == {"named.rego", "globs.rego", "system.rego"}


def test_an_algorithm_is_not_looked_at_again(asked):
    key = Key("EdDSA")
    cert = strict_json.canonical({"keys": [key.jwk]}).decode()
    given = {"token": key.sign({"alg": "EdDSA"}, {"sub": "x"}), "cert": cert}
    algorithms = ["RS256", "EdDSA", "RS256", "HS256", "none"]
    assert [asked("named", **given, alg=alg) for alg in algorithms] == [False, True, True, True, True]
    assert [asked("compared", **given, alg=alg) for alg in algorithms] == [None, True, None, None, None]


def test_one_glob_is_taken_for_another(asked):
    """Requests that anybody may send decide what others are answered."""
    asked_for = {"pattern": "internal-", "delimiters": ["."], "text": "internal-"}
    assert asked("globs", pattern="internal", delimiters=["-", "."], text="x") is False
    assert asked("globs", **asked_for) is False  # alone it is true: tests/unit/core/test_every_builtin.py


def test_globs_with_delimiters_that_are_written_out_are_themselves(asked):
    patterns = ["a", "a-", "a-.", "a-.:", "a--", "-", "-.", "*", "*-", "*-.", "a*"]
    alone = {}
    for seed in range(3):
        for pattern in random.Random(seed).sample(patterns, len(patterns)):
            for text in ["a", "a-", "a-.", "a.-", "-", "a--"]:
                given = asked("fixed", pattern=pattern, text=text)
                assert alone.setdefault((pattern, text), given) == given
    assert alone["a-", "a-"] == [True, True, True]
    assert alone["a", "a-"] == [False, False, False]
    assert alone["*", "a.-"] == [False, False, True]


def test_prefixes_are_answered_alike_the_first_time_and_the_third(asked):
    """The first call compares, the second makes a trie, the third has one."""
    drawn = random.Random(5)
    words = ["", "a", "ab", "abc", "b", "é", "e", "\u0301", "aé", "ba", "\U0001f600"]
    for _ in range(150):
        a = [*drawn.sample(words, 3), drawn.sample(words, drawn.randrange(4))]
        b = drawn.sample(words, drawn.randrange(5))
        first, *others = [asked("prefixes", a=a, b=b) for _ in range(3)]
        assert others == [first, first]
        assert first[:3] == [[any(s.startswith(x) for x in b), any(s.endswith(x) for x in b)] for s in a[:3]]


def test_opa_tells_of_itself(asked, opa):
    assert asked("system") == opa.version
