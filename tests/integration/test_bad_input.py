"""Bad input: every field, every token, in every wrong form. A denial with its own code, a record, and OPA lives.

The folders `tests/cases/input-*` hold the attacks that have a name; the rest is made here, field by field.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import importlib.util
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.local.tools import installed
from bench import stand
from bench.svid import Authority
from bench.world import ATTESTER, DOMAIN, OIDC, SIDECAR, SUPPORT, WARRANTS, Key, World, base64url, hop
from placet_sdk.answer import read_response
from tests.cases import asked as made
from tests.integration.oracle import refuses

pytestmark = pytest.mark.stack

CASES = Path(__file__).resolve().parents[1] / "cases"
FOLDERS = sorted(path.parent for path in CASES.glob("input-*/expected.json"))

#: Values of every type and of sizes that nobody means, as JSON text.
VALUES = {
    "null": "null",
    "false": "false",
    "true": "true",
    "number": "7",
    "fraction": "0.5",
    "beyond 2^53": "9007199254740993",
    "beyond floats": "1e400",
    "monstrous": "1e999999999",
    "negative": "-1",
    "empty text": '""',
    "text": '"text"',
    "look-alike": json.dumps("spiffe://example.org/supp\u043ert"),
    "nul": '"a\\u0000b"',
    "lone surrogate": '"\\ud800"',
    "huge text": json.dumps("x" * 20_000),
    "empty array": "[]",
    "array": '["text", 1]',
    "huge array": json.dumps([1] * 5_000),
    "empty object": "{}",
    "object": '{"text": 1}',
    "deep": "[" * 1_500 + "]" * 1_500,
    "deep object": '{"a":' * 1_500 + "1" + "}" * 1_500,
    "duplicates": '{"id": "a", "id": "b", "name": "a", "name": "b"}',
}
MISSING = "missing"


class Decider:
    """The OPA under test: what it answers, what a client makes of that, and what it recorded."""

    def __init__(self, opa: stand.Server, world: World) -> None:
        self.opa, self.world = opa, world
        self._read = opa.stderr.stat().st_size

    def send(self, body: bytes) -> tuple[int, list[str], bool]:
        """Ask, and check everything that always holds. Returns the status, the codes and whether it was allowed."""
        self._read = self.opa.stderr.stat().st_size
        answer = self.opa.client.post(stand.DECISION, content=body, headers={"Content-Type": "application/json"})
        records = self.records()
        decision = read_response(answer.status_code, answer.content)
        if answer.status_code == 500:  # OPA refuses a number's exponent before it evaluates anything
            assert "number too big" in answer.text
        if answer.status_code in (400, 500):
            assert records == []
            assert decision.codes == ["request.malformed"]
        else:
            assert answer.status_code == 200, answer.text
            assert len(records) == 1
            # As text: what is nested deeply is answered and recorded as it came, and Python's parser does not follow.
            allowed = '"result":{"allow":true,' in answer.text
            assert ('"result":{"allow":true,' in records[0]) is allowed
            # A client may be stricter than OPA, never the other way round.
            assert decision.allow is allowed or decision.codes == ["decision.malformed"]
            assert decision.allow or decision.codes
            for token in tokens_in(body.decode(errors="replace")):
                assert token not in records[0], "a token is in the record"
        assert self.opa.process.poll() is None
        return answer.status_code, list(decision.codes), decision.allow

    def ask(self, asked: Mapping[str, Any]) -> list[str]:
        """The codes for a request that must get a decision."""
        status, codes, _ = self.send(json.dumps({"input": asked}).encode())
        assert status == 200
        return codes

    def records(self) -> list[str]:
        """The lines that OPA wrote since the last request."""
        with self.opa.stderr.open("rb") as file:
            file.seek(self._read)
            return [line.decode() for line in file.read().split(b"\n") if line]


def tokens_in(text: str) -> list[str]:
    """Signatures of the tokens in a body: they would make a record usable."""
    return re.findall(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.([A-Za-z0-9_-]{40,})", text)


@functools.cache
def authority() -> Authority:
    """The authority of all certificates here, made when a test needs it: a long run must not outlive it."""
    return Authority(int(time.time()))


GATEWAY, FRONTEND = "spiffe://example.org/gateway", "spiffe://example.org/frontend"


@contextlib.contextmanager
def deciding(directory: Path, **changes: Any) -> Iterator[Decider]:
    """An OPA with members of its trust state replaced. All requests go to one process, which nothing stops."""
    world = World(int(time.time()))
    files = stand.composed(*stand.example("payments"))
    usual = {
        "warrant": world.trust()["warrant"] | {"revoked": {"revoked": {"expires_at": world.now + 6000}}},
        "x509": {DOMAIN: [authority().pem]},
        "grants": {OIDC: {GATEWAY: {"forward-certificate": True}, FRONTEND: {"assert-subject": True}}},
    }
    with stand.running(installed("opa"), files, directory) as opa:
        opa.write(world.state(lease_seconds=3000, **usual | changes))
        yield Decider(opa, world)
        assert opa.process.poll() is None
        # A handler that panics is noted between the records, as plain text.
        assert [line for line in opa.stderr.read_bytes().split(b"\n") if line and not line.startswith(b"{")] == []


@pytest.fixture(scope="module")
def decider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decider]:
    with deciding(tmp_path_factory.mktemp("opa")) as found:
        yield found


@pytest.fixture(scope="module")
def demanding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decider]:
    """One that demands an attestation of the caller's region."""
    with requiring(tmp_path_factory.mktemp("demanding"), region={"region": ["eu-1"]}) as found:
        yield found


@pytest.fixture(scope="module")
def imaging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decider]:
    """One that demands a summary of the caller's image."""
    accept = {"digest": [f"sha256:{'ab' * 32}"], "levels": ["SLSA_BUILD_LEVEL_3"]}
    with requiring(tmp_path_factory.mktemp("imaging"), image=accept) as found:
        yield found


def requiring(directory: Path, **accept: dict[str, list[str]]) -> contextlib.AbstractContextManager[Decider]:
    required = {kind: {"max_age_seconds": 600, "accept": values} for kind, values in accept.items()}
    return deciding(directory, environment=World(0).trust()["environment"] | {"required": required})


# ---- what everything starts from ---------------------------------------------------------------------------


BASES: dict[str, Callable[[World], dict[str, Any]]] = {
    "identity": lambda world: made.by(world.identity()),
    "forwarded": lambda world: made.request(
        identity={"token": world.identity(GATEWAY), "certificate": [authority().leaf(SUPPORT)]}
    ),
    "asserted": lambda world: made.request(identity={"token": world.identity(FRONTEND), "asserted": {"id": SUPPORT}}),
    "warrant": lambda world: made.warrant(world),
    "delegated": lambda world: made.delegated(world, constraints=world.claims()["constraints"]),
    "proven": lambda world: made.proven(world, iat=int(time.time())),
    "inside": lambda world: made.inside(world),
    "certain": lambda world: made.by(world.identity()) | {"environment": [made.about(world)]},
    "naming": lambda world: made.by(world.identity(), execution={"id": "run-1", "step": 1, "parent": PARENT}),
}
PARENT = "sha256:" + "a" * 64
#: What the oracle can read.
READABLE = [name for name in BASES if name not in ("forwarded", "asserted")]


@pytest.mark.parametrize("name", BASES)
def test_what_is_changed_here_is_allowed_as_it_is(decider: Decider, name: str) -> None:
    asked = BASES[name](decider.world)
    assert decider.ask(asked) == []
    if name in READABLE:
        assert refuses(decider.world, asked, time.time()) is None


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        (lambda: authority().leaf("spiffe://other.example/support"), "identity.certificate"),
        (lambda: authority().leaf(SUPPORT, ends=-1), "identity.certificate"),
        (lambda: authority().leaf(SUPPORT, begins=600), "identity.certificate"),
        (lambda: authority().leaf(SUPPORT, FRONTEND), "identity.certificate"),
        (lambda: authority().leaf(), "identity.certificate"),
        (lambda: authority().leaf(SUPPORT, ca=True), "identity.certificate"),
        (lambda: Authority(authority().now).leaf(SUPPORT), "identity.certificate"),
        (lambda: authority().leaf(SUPPORT).replace("M", "N", 1), "identity.certificate"),
        (lambda: authority().leaf(SUPPORT) + authority().leaf(SUPPORT), "identity.malformed"),
        (lambda: authority().pem, "identity.certificate"),
        (lambda: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "identity.certificate"),
        (lambda: authority().leaf(*[f"spiffe://example.org/{n}" for n in range(500)]), "identity.malformed"),
    ],
)
def test_certificates_that_prove_nothing(decider: Decider, certificate: Callable[[], str], code: str) -> None:
    identity = {"token": decider.world.identity(GATEWAY), "certificate": [certificate()]}
    assert decider.ask(made.request(identity=identity)) == [code]


# ---- the attacks that have a name --------------------------------------------------------------------------


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_case(request: pytest.FixtureRequest, folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    decider = request.getfixturevalue("imaging" if folder.name.startswith("input-summary-") else "decider")
    given = maker(folder).request(decider.world)
    body = given if isinstance(given, bytes) else json.dumps({"input": given}).encode()
    status, codes, allowed = decider.send(body)
    assert not allowed
    assert status == expected.get("status", 200)
    assert codes == expected.get("reasons", ["request.malformed"])


def maker(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"case_{folder.name}", folder / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_folder_is_in_the_readme() -> None:
    readme = (CASES / "README.md").read_text()
    for folder in FOLDERS:
        expected = json.loads((folder / "expected.json").read_text())
        answer = ", ".join(f"`{code}`" for code in expected.get("reasons", [])) or str(expected.get("status"))
        assert f"| `{folder.name}` | {expected['report']} | {answer} |" in readme


# ---- every field of the input ------------------------------------------------------------------------------

#: Where in which request, how the codes of the denial begin, and which values do no harm there.
TEXTS = {"text", "look-alike", "nul", "lone surrogate", "huge text"}
NUMBERS = {"number", "fraction", "negative", "beyond 2^53", "beyond floats"}
FIELDS: list[tuple[str, str, str, set[str]]] = [
    ("identity", "identity", "identity.", set()),
    ("identity", "identity.token", "identity.", set()),
    ("identity", "action", "request.malformed|policy.", set()),
    ("identity", "action.name", "request.malformed|policy.", set()),
    ("identity", "resource", "request.malformed|policy.", set()),
    ("identity", "resource.type", "request.malformed|policy.", set()),
    ("identity", "resource.id", "request.malformed", TEXTS),
    ("identity", "context", "request.malformed|policy.", set()),
    ("identity", "context.amount", "policy.denied", {"number", "fraction"}),
    ("identity", "context.currency", "policy.denied", set()),
    ("identity", "identity.certificate", "identity.|request.", {MISSING}),
    ("identity", "identity.asserted", "identity.|request.", {MISSING}),
    ("identity", "identity.other", "identity.|request.", {MISSING}),
    ("forwarded", "identity.certificate", "identity.|policy.denied", set()),
    ("forwarded", "identity.certificate.0", "identity.", set()),
    ("asserted", "identity.asserted", "identity.|policy.denied", set()),
    ("asserted", "identity.asserted.id", "identity.", set()),
    ("identity", "subject", "request.malformed", {MISSING}),
    ("identity", "warrant", "warrant.|request.malformed", {MISSING}),
    ("identity", "proof", "warrant.|request.malformed", {MISSING, *TEXTS, "empty text"}),
    ("identity", "execution", "execution.|request.malformed|policy.", {MISSING, "duplicates"}),
    ("identity", "environment", "environment.|request.malformed", {MISSING, "empty array", "array", "deep"}),
    ("warrant", "warrant.0", "warrant.|request.malformed", set()),
    ("delegated", "warrant.1", "warrant.|request.malformed", set()),
    ("proven", "proof", "warrant.proof|request.malformed", set()),
    ("inside", "execution.token", "execution.|request.malformed|identity.", set()),
    ("inside", "execution.id", "execution.|request.malformed", set()),
    ("naming", "execution.id", "request.malformed", TEXTS - {"huge text"}),
    ("naming", "execution.step", "request.malformed", {MISSING, "number", "text"}),
    ("naming", "execution.parent", "request.malformed", {MISSING}),
    ("certain", "environment.0", "environment.|request.malformed", {MISSING, *VALUES}),
]


@pytest.mark.parametrize(
    ("base", "path", "beginning", "harmless"), FIELDS, ids=[f"{base}-{path}" for base, path, *_ in FIELDS]
)
def test_every_field_in_every_wrong_form(
    decider: Decider, base: str, path: str, beginning: str, harmless: set[str]
) -> None:
    good = BASES[base](decider.world)
    for name, text in {MISSING: None, **VALUES}.items():
        body = json.dumps({"input": replaced(good, path.split("."), missing=text is None)})
        body = body.replace('"@@"', text or "")
        status, codes, allowed = decider.send(body.encode())
        if status != 200:
            assert (name, status) in (("monstrous", 500), ("lone surrogate", 400)), (name, status)
        elif allowed:
            assert name in harmless, f"{name} was allowed"
        else:
            assert any(re.match(beginning, code) for code in codes), (name, codes)


def replaced(good: Any, path: list[str], *, missing: bool) -> Any:
    """`good` with a mark where the value is to be, or with nothing there."""
    if not path:
        return "@@"
    first, rest = path[0], path[1:]
    if isinstance(good, list):
        kept = list(enumerate(good)) if not (missing and not rest) else []
        return [replaced(one, rest, missing=missing) if str(n) == first else one for n, one in kept]
    if missing and not rest:
        return {name: value for name, value in good.items() if name != first}
    return {**good, first: replaced(good.get(first, {}), rest, missing=missing)}


# ---- every member of every token ---------------------------------------------------------------------------


def identity_with(world: World, token: str) -> dict[str, Any]:
    return made.by(token)


#: How a token is made (its key, header and claims), where it goes, and how the codes of the denial begin.
Kind = tuple[Callable[[World], tuple[Key, str]], Callable[[World, str], dict[str, Any]], str]
TOKENS: dict[str, Kind] = {
    "identity": (lambda world: (world.keys[OIDC], world.identity(nbf=world.now - 60)), identity_with, "identity."),
    "acted for": (
        lambda world: (world.keys[OIDC], world.identity(act={"iss": OIDC, "sub": "spiffe://example.org/agent"})),
        identity_with,
        "identity.",
    ),
    "warrant": (
        lambda world: (
            world.keys[WARRANTS],
            world.warrant(
                nbf=world.now - 60, depth=1, act={"iss": OIDC, "sub": SUPPORT}, sub="spiffe://example.org/api"
            ),
        ),
        lambda world, token: made.by(world.identity(), warrant=[token]),
        "warrant.",
    ),
    "parent": (
        lambda world: (world.keys[WARRANTS], made.delegated(world)["warrant"][0]),
        lambda world, token: made.by(world.identity(), warrant=[token, made.delegated(world)["warrant"][1]]),
        "warrant.",
    ),
    "hop": (
        lambda world: (
            made.HOLDERS[0],
            hop(
                world.claims(jti="w-2", iss="spiffe://example.org/lead", nbf=world.now - 60, depth=0),
                made.HOLDERS[0],
            ),
        ),
        lambda world, token: made.by(world.identity(), warrant=[made.delegated(world)["warrant"][0], token]),
        "warrant.",
    ),
    "proof": (
        lambda world: (made.HOLDERS[0], made.proven(world, iat=int(time.time()))["proof"]),
        lambda world, token: made.proven(world, iat=int(time.time())) | {"proof": token},
        "warrant.proof_invalid",
    ),
    "execution": (
        lambda world: (world.keys[SIDECAR], world.execution(until=world.now + 300)),
        lambda world, token: made.request(execution={"id": "run-1", "token": token}),
        "execution.|warrant.|policy.|segment.|decision.malformed",
    ),
}

#: The same for a system that demands to know where the caller runs.
DEMANDED: Kind = (
    lambda world: (world.keys[ATTESTER], made.about(world)),
    lambda world, token: made.by(world.identity()) | {"environment": [token]},
    "environment.",
)

SUMMARISED: Kind = (
    lambda world: (world.keys[ATTESTER], made.summarised(world)["environment"][0]),
    DEMANDED[1],
    "environment.",
)

#: Members that may be missing, and further values that mean something there.
OPTIONAL: dict[str, dict[str, set[str]]] = {
    "identity": {
        "header.typ": {MISSING},
        "nbf": {MISSING, "number", "fraction", "negative"},
        "iat": {MISSING, "number", "fraction", "negative"},
        "act": {MISSING},
    },
    "acted for": {"act": {MISSING}, "act/iss": {MISSING}, "act/act": {MISSING}},
    "parent": {"cnf/jwk/d": {MISSING}, "depth": {"number"}},
    "warrant": {
        "uses": {MISSING},
        "cnf": {MISSING},
        "act/act": {MISSING},
        "constraints/amount": {MISSING},
        "constraints/amount/at_most": {"beyond 2^53", "beyond floats"},
        "nbf": {MISSING, "number"},
        "iat": {"number"},
        "jti": {"text"},
        "depth": {MISSING, "number"},
        "constraints": {MISSING, "empty object"},
    },
    "hop": {
        "nbf": {MISSING, "number"},
        "iat": {"number"},
        "jti": {"text"},
        "depth": {MISSING},
        "header.kid": {MISSING, *TEXTS, "empty text"},
    },
    "proof": {"jti": {"text"}, "header.kid": {MISSING}, "exp": {MISSING}},
    "execution": {
        "iat": {"number", "fraction", "negative"},
        "until": {*VALUES, MISSING} - {"monstrous"},
        "claims": {"empty object", "object", "duplicates", "deep object"},
        "warrant_issuer": {MISSING, *TEXTS},
        "domain": TEXTS,
        "warrants": {"empty array"},
        "principals": {"empty array"},
        "domains": {"empty array"},
        "actors": {"empty array"},
        "constraints": {"empty object"},
    },
}


#: What stands deeper, or might stand there. (An execution's token is signed by the sidecar for what its own OPA said.)
DEEPER: dict[str, list[str]] = {
    "identity": ["act", "header.crit", "header.jwk", "header.cty"],
    "acted for": ["act", "act/iss", "act/sub", "act/act"],
    "warrant": [
        "sub_id/format", "sub_id/iss", "sub_id/sub", "act/iss", "act/sub", "act/act", "actions/0", "resources/0",
        "constraints/amount", "constraints/amount/at_most", "constraints/currency/in", "constraints/currency/in/0",
        "uses", "cnf", "header.crit", "header.jwk", "header.cty",
    ],
    "parent": ["cnf", "cnf/jwk", "cnf/jwk/kty", "cnf/jwk/crv", "cnf/jwk/x", "cnf/jwk/d", "depth"],
    "hop": ["sub_id/iss", "actions/0", "constraints/amount/at_most", "header.jwk"],
    "proof": ["exp", "header.jwk"],
    "execution": ["actions/0", "header.jwk"],
}  # fmt: skip


def members() -> list[tuple[str, str]]:
    """Every member of header and claims of every kind of token, and what stands deeper."""
    world = World(int(time.time()))
    found = []
    for name, (make, _, _) in TOKENS.items():
        head, body = (made.decoded(part) for part in make(world)[1].split(".")[:2])
        if name not in ("acted for", "parent"):  # of which the rest is as in another kind
            found += [(name, f"header.{member}") for member in {"kid": 0, **head}]
            found += [(name, member) for member in body]
        found += [(name, member) for member in DEEPER[name]]
    return found


@pytest.mark.parametrize(("token", "member"), members())
def test_every_member_of_every_token_in_every_wrong_form(decider: Decider, token: str, member: str) -> None:
    unknown = {MISSING} if member in ("header.crit", "header.jwk", "header.cty") else set()
    assert spoilt(decider, TOKENS[token], member, OPTIONAL[token].get(member, unknown)) == {}


@pytest.mark.parametrize("member", [
    "header.alg", "header.kid", "header.typ", "iss", "sub", "sub_id", "aud", "iat", "exp", "jti", "eat_profile",
    "submods", "sub_id/format", "sub_id/iss", "sub_id/sub", "submods/region", "submods/region/ear.status",
    "submods/region/region", "header.jwk",
])  # fmt: skip
def test_every_member_of_a_demanded_attestation(demanding: Decider, member: str) -> None:
    harmless = {
        "sub": {*VALUES, MISSING} - {"monstrous", "huge array", "deep object"},
        "jti": {*TEXTS, "empty text"},
        "header.jwk": {MISSING},
    }
    assert spoilt(demanding, DEMANDED, member, harmless.get(member, set())) == {}


@pytest.mark.parametrize("member", [
    "header.alg", "header.kid", "header.typ", "iss", "sub_id", "aud", "iat", "exp", "jti", "_type", "subject",
    "subject/0", "subject/0/digest", "subject/0/digest/sha256", "predicateType", "predicate", "predicate/verifier",
    "predicate/verifier/id", "predicate/timeVerified", "predicate/resourceUri", "predicate/policy",
    "predicate/policy/uri", "predicate/verificationResult", "predicate/verifiedLevels", "predicate/verifiedLevels/0",
])  # fmt: skip
def test_every_member_of_a_demanded_summary(imaging: Decider, member: str) -> None:
    last = member.rpartition("/")[2]
    harmless = {*TEXTS, "empty text"} if last in ("jti", "resourceUri", "uri") else set()
    assert spoilt(imaging, SUMMARISED, member, harmless) == {}


@pytest.mark.parametrize("path", ["environment", "environment.0"])
def test_a_demanded_attestation_in_every_wrong_form(demanding: Decider, path: str) -> None:
    good = made.by(demanding.world.identity()) | {"environment": [made.about(demanding.world)]}
    assert demanding.ask(good) == []
    for name, text in {MISSING: None, **VALUES}.items():
        body = json.dumps({"input": replaced(good, path.split("."), missing=text is None)})
        status, codes, allowed = demanding.send(body.replace('"@@"', text or "").encode())
        assert not allowed
        assert status != 200 or codes[0].startswith(("environment.", "request.malformed")), (name, codes)


def spoilt(decider: Decider, kind: Kind, member: str, harmless: set[str]) -> dict[str, list[str]]:
    """Spoil one member in every way. Returns what was not answered as it should be."""
    make, place, beginning = kind
    key, good = make(decider.world)
    assert decider.ask(place(decider.world, good)) == []
    wrong = {}
    for name, text in {MISSING: None, **VALUES}.items():
        if name.startswith("huge") and text:
            text = text.replace("x" * 20_000, "x" * 3_000).replace("1, " * 3_000, "")
        bad = key.sign_raw(
            *(json.dumps(part) if isinstance(part, dict) else part for part in parts(good, member, text))
        )
        body = json.dumps({"input": place(decider.world, bad)})
        status, codes, allowed = decider.send(body.encode())
        assert status == 200
        if allowed != (name in harmless) or not (allowed or any(re.match(beginning, code) for code in codes)):
            wrong[name] = codes
    return wrong


def parts(token: str, member: str, text: str | None) -> tuple[str, str]:
    """Header and claims of a token as texts, a member replaced by a text or left out."""
    head, body = (made.decoded(part) for part in token.split(".")[:2])
    path = ["0", member.removeprefix("header.")] if member.startswith("header.") else ["1", *member.split("/")]
    written = replaced([head, body], path, missing=text is None)
    header, claims = (json.dumps(part).replace('"@@"', text or "") for part in written)
    return header, claims


#: What is done to a good token of each kind: its header and claims, and who signs (a key, a text for HMAC, or nobody).
Forged = tuple[dict[str, Any], dict[str, Any], Key | str | None]
SOON = 60
ATTACKS: dict[str, Callable[[Key, dict[str, Any], dict[str, Any]], Forged]] = {
    "alg none": lambda key, head, body: (head | {"alg": "none"}, body, None),
    "alg nOnE": lambda key, head, body: (head | {"alg": "nOnE"}, body, None),
    "no signature": lambda key, head, body: (head, body, None),
    "HMAC with the JWK": lambda key, head, body: (head | {"alg": "HS256"}, body, json.dumps(key.jwk)),
    "HMAC with the JWK set": lambda key, head, body: (head | {"alg": "HS256"}, body, key.trusted["jwks"]),
    "HMAC with the PEM": lambda key, head, body: (head | {"alg": "HS256"}, body, pem(key)),
    "HMAC under the key's alg": lambda key, head, body: (head, body, key.trusted["jwks"]),
    "a header's own key": lambda key, head, body: (head | {"jwk": STRANGER.jwk}, body, STRANGER),
    "another's key": lambda key, head, body: (head, body, STRANGER),
    "unknown critical header": lambda key, head, body: (head | {"crit": ["x"], "x": 1}, body, key),
    "unencoded payload": lambda key, head, body: (head | {"b64": False, "crit": ["b64"]}, body, key),
    "unknown kid": lambda key, head, body: (head | {"kid": "nobody"}, body, key),
    "empty audience": lambda key, head, body: (head, body | {"aud": ""}, key),
    "no audience": lambda key, head, body: (head, body | {"aud": []}, key),
    "expired by a second": lambda key, head, body: (head, body | {"exp": int(time.time()) - 1}, key),
    "expires now": lambda key, head, body: (head, body | {"exp": int(time.time())}, key),
    "issued in the future": lambda key, head, body: (
        head, body | {"iat": int(time.time()) + SOON, "exp": int(time.time()) + 2 * SOON}, key,
    ),
    "not yet valid": lambda key, head, body: (head, body | {"nbf": int(time.time()) + SOON}, key),
}  # fmt: skip
STRANGER = Key("stranger")
#: A hop is signed by the key that the one before names, and its `kid` says nothing.
MEANS_NOTHING = {("hop", "unknown kid")}


def pem(key: Key) -> str:
    """The public key as text."""
    return key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def forged(key: Key, token: str, attack: str) -> str:
    head, body, signer = ATTACKS[attack](key, *(made.decoded(part) for part in token.split(".")[:2]))
    if isinstance(signer, Key):
        return signer.sign_raw(json.dumps(head), json.dumps(body))
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (head, body))
    mac = b"" if signer is None else hmac.new(signer.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64url(mac)}"


@pytest.mark.parametrize("kind", [*TOKENS, "attestation"])
def test_every_attack_on_every_kind_of_token(decider: Decider, demanding: Decider, kind: str) -> None:
    asked = demanding if kind == "attestation" else decider
    make, place, beginning = DEMANDED if kind == "attestation" else TOKENS[kind]
    for attack in ATTACKS:
        key, good = make(asked.world)
        codes = asked.ask(place(asked.world, forged(key, good, attack)))
        if (kind, attack) in MEANS_NOTHING:
            assert codes == []
        else:
            assert any(re.match(beginning, code) for code in codes), (attack, codes)


# ---- anything at all ---------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["refund", "read", "*", SUPPORT, "EUR", "payment", 40, 500, 501]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def mutated(good: Any) -> st.SearchStrategy[Any]:
    """`good` with one part replaced by, lacking, or beside, something else."""
    if isinstance(good, dict) and good:
        name = st.sampled_from(sorted(good))
        return st.one_of(
            json_values,
            name.map(lambda key: {k: v for k, v in good.items() if k != key}),
            st.tuples(st.text(max_size=8), json_values).map(lambda pair: good | {pair[0]: pair[1]}),
            name.flatmap(lambda key: mutated(good[key]).map(lambda value: good | {key: value})),
            name.flatmap(lambda key: mutated(good[key]).map(lambda value: good | {key: value})),
        )
    if isinstance(good, list) and good:
        position = st.integers(0, len(good) - 1)
        return position.flatmap(
            lambda n: mutated(good[n]).map(lambda value: [*good[:n], value, *good[n + 1 :]])
        ) | st.permutations(good)
    if isinstance(good, str) and good.startswith("eyJ"):
        return json_values | damaged(good)
    return json_values


def damaged(token: str) -> st.SearchStrategy[str]:
    """A token with one character changed, one part exchanged, or cut.

    Not the last character: some of its bits are no part of the signature, and OPA drops them.
    """
    position = st.integers(0, len(token) - 2)
    letter = st.sampled_from("AZaz09-_.=+/ \u00e9")
    return (
        st.tuples(position, letter).map(lambda pair: token[: pair[0]] + pair[1] + token[pair[0] + 1 :])
        | position.map(lambda n: token[:n])
        | st.permutations(token.split(".")).map(".".join)
    )


def resigned(good: Mapping[str, Any], world: World) -> st.SearchStrategy[dict[str, Any]]:
    """The request with one of its tokens changed and signed again by whoever signed it."""
    places: list[tuple[tuple[str, Any], str, Key]] = []
    if "identity" in good:
        places.append((("identity", "token"), good["identity"]["token"], world.keys[OIDC]))
    for n, token in enumerate(good.get("warrant", [])):
        places.append((("warrant", n), token, made.HOLDERS[n - 1] if n else world.keys[WARRANTS]))
    if "proof" in good:
        places.append((("proof", None), good["proof"], made.HOLDERS[0]))
    if "token" in good.get("execution", {}):
        places.append((("execution", "token"), good["execution"]["token"], world.keys[SIDECAR]))

    def changed(place: tuple[tuple[str, Any], str, Key]) -> st.SearchStrategy[dict[str, Any]]:
        (member, below), token, key = place
        head, body = (made.decoded(part) for part in token.split(".")[:2])

        def put(claims: Any, header: Any) -> dict[str, Any]:
            signed = key.sign_raw(json.dumps(header), json.dumps(claims))
            if below is None:
                return {**good, member: signed}
            held = good[member]
            kept = [*held[:below], signed, *held[below + 1 :]] if isinstance(held, list) else held | {below: signed}
            return {**good, member: kept}

        return mutated(body).map(lambda claims: put(claims, head)) | mutated(head).map(lambda header: put(body, header))

    return st.sampled_from(places).flatmap(changed)


@pytest.mark.parametrize("name", READABLE)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_nothing_is_allowed_that_may_not_be(decider: Decider, name: str, data: st.DataObject) -> None:
    good = BASES[name](decider.world)
    asked = data.draw(mutated(good) | resigned(good, decider.world))
    status, _, allowed = decider.send(json.dumps({"input": asked}).encode())
    if allowed:
        refusal = refuses(decider.world, asked, time.time())
        assert refusal is None, f"allowed, though: {refusal}"
    if status == 400:
        assert not isinstance(asked, dict) or "\\ud" in json.dumps(asked)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(body=st.binary(max_size=400) | st.data())
def test_any_bytes_at_all(decider: Decider, body: Any) -> None:
    raw = body if isinstance(body, bytes) else None
    if raw is None:
        text = json.dumps({"input": made.by(decider.world.identity())}).encode()
        start = body.draw(st.integers(0, len(text)))
        raw = text[:start] + body.draw(st.binary(min_size=1, max_size=4)) + text[start + body.draw(st.integers(0, 4)) :]
    status, _, allowed = decider.send(raw)
    assert status in (200, 400)
    if allowed:
        assert refuses(decider.world, json.loads(raw.decode("utf-8", "replace"))["input"], time.time()) is None
