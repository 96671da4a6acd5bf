"""No token is ever in a record, and every answer has its record, whatever the input is.

OPA answers and records nothing when a mask goes wrong, and records everything when it is undefined; so this runs
against the real server.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.local.tools import installed
from bench import stand

pytestmark = pytest.mark.stack

ISSUER = stand.Issuer()

SIDECAR = stand.Issuer(stand.SIDECAR, kid="e1")
CONTROL_PLANE = stand.Issuer(stand.CONTROL_PLANE, kid="w1")
API = "spiffe://example.org/api"
CLAIMS = stand.execution_claims(API)
INNER = ISSUER.token(sub="spiffe://example.org/inner")
EXECUTION = SIDECAR.execution("e-1", CLAIMS)
#: A holder of other people's tokens, and an execution of it: what verifies is recorded, so this must be cut too.
CARRIER = ISSUER.token(note=f"Bearer {INNER}")
CARRYING = SIDECAR.execution("e-1", CLAIMS | {"claims": {"note": INNER}})
WARRANT = CONTROL_PLANE.warrant(API)

#: JSON may begin with blanks, and a token with their base64url.
SPACED = [
    ISSUER.sign({"alg": "EdDSA", "kid": ISSUER.kid}, ISSUER.claims(jti=repr(blank)), blank=blank)
    for blank in (" ", "\t", "\n", "\r\n")
]
#: Of the control plane's own API.
OWN = [f"{prefix}_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}" for prefix in ("placet", "placet-join")]
CARRYING_SPACED = ISSUER.token(note=SPACED[0])

#: Usable tokens: good signatures over different claims.
TOKENS = [
    ISSUER.token(), ISSUER.token(sub="spiffe://example.org/other"), ISSUER.token(aud="elsewhere"), ISSUER.token(exp=1),
    EXECUTION, WARRANT, CARRIER, CARRYING, INNER, *SPACED, CARRYING_SPACED, *OWN,
]  # fmt: skip

#: A policy that hands tokens on where it can: into reasons, obligations and a conflict.
LEAKY = {
    "leaky/authz.rego": """package leaky.authz

decision := {"allow": true, "reasons": [{"code": "x", "message": sprintf("%v", [input.context])}],
    "obligations": [{"echo": input.context}]} if not input.context.conflict

decision := 1 if input.context.conflict

decision := 2 if input.context.conflict
""",
}


@pytest.fixture(scope="module")
def opa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stand.Server]:
    files = stand.composed(LEAKY, "leaky/authz/decision", ["leaky"])
    with stand.running(installed("opa"), files, tmp_path_factory.mktemp("opa")) as server:
        grants = {ISSUER.name: {API: {"assert-subject": True, "forward-certificate": True}}}
        server.write(stand.trust_state(ISSUER, sidecar=SIDECAR, control_plane=CONTROL_PLANE, grants=grants))
        yield server


class Tail:
    """Reads the records that were added since the last call."""

    def __init__(self, path: Path) -> None:
        self.path, self.read = path, path.stat().st_size

    def lines(self) -> list[str]:
        raw = self.path.read_bytes()[self.read :]
        self.read += len(raw)
        # Not splitlines(): records hold U+0085 and U+2028 as they are.
        return [line.decode() for line in raw.split(b"\n") if line]


def decoded_segments(line: str) -> list[bytes]:
    """What the headers and payloads of the tokens in a record say."""
    found = [part for jwt in re.findall(r"ey[\w-]+\.ey[\w-]+\.[0-9a-f]{64}", line) for part in jwt.split(".")[:2]]
    return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in found]


def ask(opa: stand.Server, body: Any, path: str = stand.DECISION) -> tuple[int, list[str]]:
    tail = Tail(opa.stderr)
    answer = opa.client.post(path, json=body, headers=opa.agent if path != stand.DECISION else {})
    return answer.status_code, tail.lines()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["eyJ", "eyJ.", "eyJ..", "{", '"', "\\", "Bearer eyJhbGci", "\x0eyJ..", "\x1eyJ..eyJ..", ">yJ..", "\\u003eyJ.."]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
tokens = st.sampled_from(TOKENS)
holders = json_values | tokens | st.builds(lambda token, value: {"token": token, "x": value}, tokens, json_values)
embedded = (
    json_values
    | tokens
    | st.builds(lambda token: f"Bearer {token}", tokens)
    | st.builds(lambda token, value: {token: [value, token]}, tokens, json_values)
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "identity": holders
        | st.builds(lambda token: {"token": token}, tokens | json_values)
        | st.builds(lambda token, value: {"token": token, "asserted": {"id": value}}, tokens, tokens | json_values)
        | st.builds(lambda token, value: {"token": token, "certificate": value}, tokens, st.lists(tokens) | embedded),
        "warrant": st.lists(tokens | json_values, max_size=3) | holders,
        "proof": tokens | embedded,
        "environment": st.lists(tokens | json_values, max_size=3) | embedded,
        "action": st.just({"name": "read"}) | json_values,
        "resource": st.just({"type": "payment", "id": "p"}) | json_values,
        "context": st.fixed_dictionaries({"v": embedded}, optional={"conflict": st.booleans()}) | embedded,
        "execution": embedded
        | st.builds(lambda token: {"id": "e-1", "token": token}, tokens | embedded)
        | st.builds(lambda token, value: {"id": value, "token": token}, tokens, embedded),
        "unknown": embedded,
    },
)
inputs = json_values | requests | tokens | st.lists(embedded, max_size=2)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs, st.sampled_from([stand.DECISION, "/v1/data/placet/start"]))
def test_every_answer_has_one_record_without_tokens(opa: stand.Server, asked: Any, path: str) -> None:
    status, lines = ask(opa, {"input": asked}, path)
    if status not in (200, 500):
        assert status == 400
        assert lines == []
        return
    assert len(lines) == 1
    record = json.loads(lines[0])
    assert record["msg"] == "Decision Log"
    assert "could not be masked" not in lines[0], "whoever can bring this about hides what they do"
    for token in TOKENS:
        assert token not in lines[0]
        assert token.rsplit(".", 1)[-1] not in lines[0], "the signature of a token is in the record"
    said = decoded_segments(lines[0])
    assert not [one for one in said if b"eyJ" in one or SPACED[0].encode() in one], "a token is in what a token says"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_values)
def test_what_is_no_token_is_recorded_as_it_was_sent(opa: stand.Server, value: Any) -> None:
    status, lines = ask(opa, {"input": stand.request(TOKENS[0], context={"v": value})})
    assert status == 200
    if "eyJ" not in json.dumps(value):
        assert json.loads(lines[0])["input"]["context"] == {"v": value}


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"input": null}', b'"text"', b"7", b'{"input": false}'])
def test_bodies_without_an_input_object(opa: stand.Server, body: bytes) -> None:
    tail = Tail(opa.stderr)
    answer = opa.client.post(stand.DECISION, content=body)
    lines = tail.lines()
    if answer.status_code == 200:
        assert answer.json()["result"]["allow"] is False
        assert [json.loads(line)["msg"] for line in lines] == ["Decision Log"]
    else:
        assert answer.status_code == 400
        assert lines == []


@pytest.mark.parametrize("note", ["\x0eyJa.b.c", ">yJa.b.c eyJ", "\x1eyJ..", "\\\x0eyJ.."])
def test_an_escape_before_what_looks_like_a_token_hides_nothing(opa: stand.Server, note: str) -> None:
    _, [line] = ask(opa, {"input": stand.request(TOKENS[0], context={"note": note})})
    recorded = json.loads(line)
    assert recorded["input"]["context"] == {"note": note}
    assert recorded["result"]["subject"]["id"] == API


@pytest.mark.parametrize("token", SPACED, ids=["space", "tab", "line feed", "line end"])
def test_a_token_that_begins_with_blanks_is_good_and_cut(opa: stand.Server, token: str) -> None:
    _, [line] = ask(opa, {"input": {**stand.request(token, context={"note": [f"Bearer {token}"], "n": 1})}})
    recorded = json.loads(line)
    assert recorded["result"]["subject"]["id"] == API, "the library takes it, so it is a token that could be used"
    assert recorded["input"]["identity"] == {"token": stand.digest(token.encode())}
    head = token.split(".")[0]
    assert recorded["input"]["context"] == {"note": [f"Bearer {head}(token cut)"], "n": 1}


@pytest.mark.parametrize("member", ["warrant", "environment", "certificate"])
def test_what_is_repeated_does_not_grow_in_the_record(opa: stand.Server, member: str) -> None:
    """A record of many times the request's size would let anybody fill the disk."""
    asked = stand.request(TOKENS[0])
    (asked["identity"] if member == "certificate" else asked)[member] = [0] * 30000
    tail = Tail(opa.stderr)
    opa.client.post(stand.DECISION, content=json.dumps({"input": asked}, separators=(",", ":"))).raise_for_status()
    [line] = tail.lines()
    assert len(line) < 5000


def unsigned(token: str) -> str:
    """How a token is recorded that says nothing of another token."""
    head, body, _ = token.split(".")
    return f"{head}.{body}.{hashlib.sha256(token.encode()).hexdigest()}"


def test_the_record_keeps_what_a_token_says_and_a_digest_of_it(opa: stand.Server) -> None:
    _, lines = ask(opa, {"input": stand.request(TOKENS[0], warrant=[TOKENS[1], 7, CARRIER])})
    recorded = json.loads(lines[0])["input"]
    assert recorded["identity"] == {"token": unsigned(TOKENS[0])}
    assert recorded["warrant"] == [unsigned(TOKENS[1]), 7, stand.digest(CARRIER.encode())]


def test_a_warrant_is_cut_whatever_it_is(opa: stand.Server) -> None:
    _, lines = ask(opa, {"input": stand.request(TOKENS[0], warrant=["opaque"])})
    assert json.loads(lines[0])["input"]["warrant"] == [stand.digest(b"opaque")]


def test_the_record_keeps_what_replay_needs(opa: stand.Server) -> None:
    _, lines = ask(opa, {"input": stand.request(TOKENS[0])})
    calls = json.loads(lines[0])["nd_builtin_cache"]
    assert set(calls) == {"time.now_ns", "io.jwt.decode_verify", "placet.lease"}
    assert set(calls["placet.lease"]["[]"]) == {"issued_at_ns", "valid_until_ns"}
    assert calls["io.jwt.decode_verify"] == {hashlib.sha256(TOKENS[0].encode()).hexdigest(): True}


@pytest.mark.parametrize("beside", [{}, {"warrant": [WARRANT]}, {"proof": WARRANT}, {"environment": [WARRANT]}])
@pytest.mark.parametrize(
    "asked",
    [
        stand.request(TOKENS[0]),
        stand.request(CARRIER),
        stand.request(None, identity=None, execution={"id": "e-1", "token": EXECUTION}),
        stand.request(None, identity=None, execution={"id": "e-1", "token": CARRYING}),
        stand.request(None, identity={"token": CARRIER, "asserted": {"id": "spiffe://example.org/x"}}),
    ],
    ids=["identity", "carrier", "execution", "carrying execution", "asserted"],
)
def test_no_token_of_any_member_is_recorded(opa: stand.Server, asked: dict[str, Any], beside: dict[str, Any]) -> None:
    for path in (stand.DECISION, "/v1/data/placet/start"):
        status, [line] = ask(opa, {"input": asked | beside}, path)
        assert status == 200
        for token in TOKENS:
            assert token.rsplit(".", 1)[-1] not in line
        assert "could not be masked" not in line
        record = json.loads(line)
        assert {key: record["input"][key] for key in ("action", "resource", "context")} == {
            key: asked[key] for key in ("action", "resource", "context")
        }


def test_what_an_execution_is_recorded_with(opa: stand.Server) -> None:
    asked = stand.request(None, identity=None, execution={"id": "e-1", "token": EXECUTION})
    _, [line] = ask(opa, {"input": asked})
    record = json.loads(line)
    assert record["input"]["execution"] == {"id": "e-1", "token": unsigned(EXECUTION)}
    assert record["nd_builtin_cache"]["io.jwt.decode_verify"] == {hashlib.sha256(EXECUTION.encode()).hexdigest(): True}


def test_each_of_several_outcomes_is_filed_under_its_token(opa: stand.Server) -> None:
    hashed = {token: hashlib.sha256(token.encode()).hexdigest() for token in (TOKENS[0], WARRANT)}
    _, [line] = ask(opa, {"input": stand.request(TOKENS[0], warrant=[WARRANT])})
    calls = json.loads(line)["nd_builtin_cache"]["io.jwt.decode_verify"]
    assert calls == dict.fromkeys(hashed.values(), True)
    # An expired warrant is verified twice: now, and at a time when it had not expired.
    expired = CONTROL_PLANE.warrant(API, iat=int(time.time()) - 100, exp=int(time.time()) - 50)
    _, [line] = ask(opa, {"input": stand.request(TOKENS[0], warrant=[expired])})
    calls = json.loads(line)["nd_builtin_cache"]["io.jwt.decode_verify"]
    outcomes: dict[str, list[bool]] = {}
    for key, outcome in calls.items():
        token, _, constraints = key.partition(":")
        assert re.fullmatch("[0-9a-f]{64}", constraints)
        outcomes.setdefault(token, []).append(outcome)
    assert outcomes[hashed[TOKENS[0]]] == [True]
    assert sorted(outcomes[hashlib.sha256(expired.encode()).hexdigest()]) == [False, True]


@pytest.mark.parametrize("number", ["1e400", "12345678901234567890123456789", "1.0", "-0", "1E5"])
@pytest.mark.parametrize("note", ["plain", TOKENS[1]])
def test_numbers_keep_their_form(opa: stand.Server, number: str, note: str) -> None:
    asked = json.dumps({"input": stand.request(TOKENS[0], context={"n": 1, "note": note})})
    tail = Tail(opa.stderr)
    opa.client.post(stand.DECISION, content=asked.replace('"n": 1', f'"n": {number}')).raise_for_status()
    [line] = tail.lines()
    assert f'"context":{{"n":{number},' in line


def test_a_large_request_is_recorded(opa: stand.Server) -> None:
    status, lines = ask(opa, {"input": stand.request("x" * 30000, context={"a": "y" * 20000, "t": TOKENS[0]})})
    assert status == 200
    assert len(lines) == 1
    assert TOKENS[0] not in lines[0]


def test_a_conflict_in_the_policy_is_recorded_without_tokens(opa: stand.Server) -> None:
    status, lines = ask(opa, {"input": stand.request(TOKENS[0], context={"conflict": True, "t": TOKENS[1]})})
    assert status == 500
    assert len(lines) == 1
    assert "eval_conflict_error" in json.loads(lines[0])["error"]
    assert TOKENS[1] not in lines[0]
