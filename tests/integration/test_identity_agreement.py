"""The control plane and OPA agree on identities: the same tokens, good and spoilt in every way, through both.

The control plane verifies tokens itself where OPA is not there to ask: at the token exchange, and as evidence.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.local.tools import installed
from app.sidecar.trust_keys import usual_headers
from bench import stand, world
from tests.integration.identity_kit import (
    ECHO,
    ISSUERS,
    NOBODY,
    OIDC,
    PARTNER,
    PEOPLE,
    SVIDS,
    TRUSTED,
    USUAL,
    WEB,
    Both,
    signed,
    token,
)
from tests.integration.test_bad_input import FOLDERS, maker

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    files = stand.composed(ECHO, "app/authz/decision", ["app"])
    with stand.running(installed("opa"), files, tmp_path_factory.mktemp("opa")) as server:
        yield Both(server)
        assert server.process.poll() is None


@pytest.fixture(scope="module", params=[None, 30], ids=["any age", "fresh"])
def both(running: Both, request: pytest.FixtureRequest) -> Both:
    links = {"partner.example": True}
    trust = {"issuers": TRUSTED, "headers": usual_headers(TRUSTED), "links": links}
    running.trust(stand.trust_state(**trust, max_identity_age_seconds=request.param, seconds=3000), tuple(links))
    return running


ODD: list[Any] = [..., None, True, False, 7, 0, -1, 0.5, 2**53 + 1, 10**400, "", "text", "7", "a\nb", [], ["x"], {}]
ODD += [{"sub": "x"}, "\ufffd", [7], [None], "a" * 3000]
TIMES = [1, 253402300799, 253402300800, 1e308]
HEADERS: list[dict[str, Any]] = [
    *({name: value} for name in ("alg", "kid", "typ", "x5t", "x5t#S256") for value in ODD),
    *({"typ": typ} for typ in ("jwt", "jose", "JOSE", "at+jwt", "application/AT+JWT", "applIcation/at+jwt")),
    *({"typ": typ} for typ in ("application/jwt", "warrant+jwt", "proof+jwt", "ear+jwt", "execution+jwt", "\u0130")),
    {"typ": "appl\u0130cation/at+jwt"},
    {"x5t": "dGh1bWI", "x5t#S256": "dGh1bWI"},
    *(
        {name: value}
        for name in ("crit", "jwk", "jku", "x5c", "x5u", "b64", "cty", "enc", "zip", "X5T")
        for value in ODD
    ),
    {"crit": ["x5t"], "x5t": "dGh1bWI"},
    *({"alg": alg} for alg in ("none", "HS256", "RS256", "ES256", "eddsa")),
    *({"kid": kid} for kid in ("k2", "h1", "../k1", "k1\0")),
]
SUBJECTS = [
    "spiffe://example.org/a/../b", "spiffe://example.org", "spiffe://example.org/", "spiffe://example.org//a",
    "spiffe://example.org/a/", "SPIFFE://example.org/a", "sp\u0130ffe://example.org/a", "spiffe://partner.example/a",
    "spiffe://example.org/\u0430", "spiffe://example.org/a\n", "spiffe://nobody.example/a", "spiffe://Example.org/a",
    "spiffe://example.org/" + "a" * 2027, "spiffe://example.org/" + "a" * 2028, "spiffe://example.org/..a",
    "spiffe:example", "spiffe", "system:serviceaccount:a:b", "SYSTEM:serviceaccount:a:b", "system:serviceaccount:",
    "sys", "S", "ann", "spiffe://", "spiffe:///a", "spiffe://\0/a", "https://x",
]  # fmt: skip
ACTS: list[Any] = [
    {"sub": WEB}, {"sub": WEB, "iss": SVIDS.name}, {"sub": "ann", "iss": PEOPLE.name}, {"sub": "ann"}, {"sub": "bo"},
    {"sub": "bo", "iss": PARTNER.name}, {"sub": "x", "iss": NOBODY.name}, {"sub": "x", "iss": "\0"}, {"sub": ""},
    {"sub": WEB, "act": {"sub": WEB}}, {"sub": WEB, "act": None}, {"sub": WEB, "act": {}}, {"sub": WEB, "act": []},
    {"sub": WEB, "iss": None}, {"sub": WEB, "iss": ""}, {"sub": WEB, "iss": 7}, {"sub": 7}, {"sub": None},
    {"sub": WEB, "more": 1},
]  # fmt: skip


def nested(depth: int) -> dict[str, Any]:
    act = {"sub": WEB}
    for _ in range(depth - 1):
        act = {"sub": WEB, "act": act}
    return act


def claims() -> list[dict[str, Any]]:
    """What is changed in the claims; made late, so that times are of now."""
    now = int(time.time())
    dates = [*TIMES, now - 60, now - 1, now + 1000, now + 1000.5, now - 20.5]
    audiences = ["payments ", ["payments"], ["x", "payments"], ["payments", 7], ["payments", None], ["", "payments"]]
    audiences += [
        ["payments", ["x"]],
        ["payments", {}],
        "ledger",
        ["ledger", "payments"],
        {"payments": 1},
        [["payments"]],
    ]
    return [
        *({name: value} for name in ("iss", "sub", "aud", "exp", "nbf", "iat", "act", "jti") for value in ODD),
        *({name: value} for name in ("exp", "nbf", "iat") for value in dates),
        *({"aud": value} for value in audiences),
        *({"sub": value} for value in SUBJECTS),
        *({"sub": value, "iss": ...} for value in SUBJECTS),
        *({"sub": WEB, "iss": value} for value in [*ODD, "https://nobody.example", SVIDS.name + "/", "\0"]),
        *({"act": value} for value in [*ACTS, nested(8), nested(9)]),
        {"sub": "spiffe://partner.example/a", "act": "x", "iat": now + 900},
        {"act": 7, "iat": now + 900},
        {"iat": now + 900, "nbf": now + 900},
        {"exp": now - 60, "aud": "x"},
        {"exp": now - 60, "nbf": None},
        {"exp": now - 60, "nbf": now + 60},
        {"sub": 7, "exp": "x"},
        {"sub": 7, "exp": ...},
    ]


def compared(both: Both, tokens: dict[str, str]) -> dict[str, Any]:
    """Where the two disagree; what the control plane alone refuses is left out."""
    differing = {}
    for name, text in tokens.items():
        ours, theirs = both.by_us(text), both.by_opa(text)
        if ours != theirs and not only_here(ours, theirs):
            differing[name] = {"exchange": ours, "opa": theirs}
    return differing


def only_here(ours: Any, theirs: Any) -> bool:
    """Whether nobody could write down who asks: a decision takes the name, and no warrant can hold it."""
    if isinstance(theirs, str):
        return False
    (_, subject, _, actors) = theirs
    said = {"identity.claims": [subject], "identity.actors": [name for _, name in actors]}.get(ours, [])
    return any(not name.isprintable() or len(name) > 2048 for name in said)


def test_headers(both: Both) -> None:
    tokens = {f"{one.name} {head}": token(one, head) for one in (OIDC, PEOPLE) for head in HEADERS}
    assert compared(both, tokens) == {}


@pytest.mark.parametrize("issuer", [OIDC, PEOPLE], ids=["listed header", "read header"])
def test_tokens_that_name_a_certificate_are_taken(both: Both, issuer: stand.Issuer) -> None:
    """As GitHub Actions and Entra ID write them."""
    for header in ({"x5t": "dGh1bWI"}, {"x5t": "dGh1bWI", "x5t#S256": "dGh1bWI"}):
        text = token(issuer, header)
        assert both.by_us(text)[:2] == both.by_opa(text)[:2] == (issuer.name, USUAL[issuer.name])


@pytest.mark.parametrize("issuer", ISSUERS, ids=lambda one: one.name)
def test_claims(both: Both, issuer: stand.Issuer) -> None:
    tokens = {str(change)[:200]: token(issuer, **change) for change in claims()}
    assert compared(both, tokens) == {}


def test_what_is_wrong_with_a_token_that_nobody_signed(both: Both) -> None:
    tokens = {str(change)[:200]: token(PEOPLE, key=NOBODY, **change) for change in claims()}
    assert compared(both, tokens) == {}


def spelt(text: str) -> dict[str, str]:
    """A good token, written otherwise."""
    head, body, signature = text.split(".")
    return {
        "padded header": f"{head}=.{body}.{signature}",
        "two padded": f"{head}==.{body}.{signature}",
        "padded signature": f"{text}==",
        "more parts": f"{text}.",
        "fewer parts": f"{head}.{body}",
        "line break in header": f"{head[:9]}\n{head[9:]}.{body}.{signature}",
        "line breaks in header": f"{head[:9]}\r\n\r\n{head[9:]}.{body}.{signature}",
        "line breaks in claims": f"{head}.{body[:9]}\n\n\n\n{body[9:]}.{signature}",
        "line breaks in signature": f"{head}.{body}.{signature[:9]}\n\n\n\n{signature[9:]}",
        "line break at the end": f"{text}\n",
        "space in signature": f"{head}.{body}.{signature[:9]} {signature[9:]}",
        "no signature": f"{head}.{body}.",
        "short signature": text[:-4],
        "other bits at the end": text[:-1] + chr(ord(text[-1]) + 1),
        "standard base64": f"{head}.{body}.{signature.replace('-', '+').replace('_', '/')}",
        "not ascii": f"{head}.{body}.\u00e9",
        "blank before": f" {text}",
        "long": text + "A" * 8192,
        "no claims": f"{head}..{signature}",
        "dots": "..",
        "one dot": ".",
        "words": "a.b.c",
    }  # fmt: skip


@pytest.mark.parametrize("issuer", [OIDC, PEOPLE], ids=["listed header", "read header"])
def test_how_a_token_is_spelt(both: Both, issuer: stand.Issuer) -> None:
    assert compared(both, spelt(token(issuer))) == {}


RAW = [
    '{"alg":"none","alg":"EdDSA","kid":"h1"}', '{"alg":"EdDSA","alg":"none","kid":"h1"}', "[]", '"x"', "7", "{}",
    '{"alg":"EdDSA","kid":"h1"} ', ' {"alg":"EdDSA","kid":"h1"}', '{"alg":"EdDSA","kid":"h1"}x', '{"alg":"EdDSA",}',
    '\ufeff{"alg":"EdDSA","kid":"h1"}', '{"alg":"EdDSA","kid":"\\u0068\\u0031"}', '{"ALG":"EdDSA","kid":"h1"}',
]  # fmt: skip
RAW_CLAIMS = [
    '"sub":"ann","sub":"bob"', '"sub":"ann","exp":1', '"exp":1e400', '"exp":1e999999999', '"nbf":-1e400', '"exp":NaN',
    '"nbf":1e999999999', '"iat":1e999999999', '"iat":-1e999999999', '"aud":"x"', '"exp":99999999999.9999999999',
    '"iat":1.0e9', '"iat":00', '"sub":"a\tb"', '"sub":"\\u0061"', '"exp":' + "9" * 5000, '"iat":' + "9" * 5000,
    '"sub":{"a":1}', '"iss":"https://people.example","iss":"https://nobody.example"', '"x":1e999999999',
]  # fmt: skip


def test_json_as_no_library_writes_it(both: Both) -> None:
    body = json.dumps(PEOPLE.claims(sub="ann"))
    tokens = {text: signed(PEOPLE, text.encode(), body.encode()) for text in RAW}
    head = b'{"alg":"EdDSA","kid":"h1"}'
    for text in RAW_CLAIMS:
        tokens[text[:40]] = signed(PEOPLE, head, f"{body[:-1]},{text}}}".encode())
    assert compared(both, tokens) == {}


def test_what_the_control_plane_alone_refuses(both: Both) -> None:
    """Text that is no Unicode, which a store could not keep, and claims nested as nobody means them."""
    body = json.dumps(PEOPLE.claims(sub="ann"))
    head = b'{"alg":"EdDSA","kid":"h1"}'
    for more in (b'"x":"\xff"', b'"sub":"\\ud800"', b'"x":' + b"[" * 2000 + b"]" * 2000):
        text = signed(PEOPLE, head, body[:-1].encode() + b"," + more + b"}")
        assert both.by_us(text) == "identity.malformed"
        assert both.by_opa(text)[0] == PEOPLE.name
    for name in ("a\0b", "a\nb", "a" * 2049):
        text = token(PEOPLE, sub=name)
        assert (both.by_us(text), both.by_opa(text)[1]) == ("identity.claims", name)


values = st.sampled_from([*ODD, *SUBJECTS, *ACTS, *[one.name for one in ISSUERS], "payments"]) | st.sampled_from(
    [("at", offset) for offset in (-600, -31, -5, 5, 600, 0.5)]
)
changed = st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "act"]), values, max_size=3)


@given(
    issuer=st.sampled_from(ISSUERS),
    signer=st.none() | st.sampled_from(ISSUERS),
    head=st.just({}) | st.sampled_from(HEADERS),
    change=changed,
)
@example(issuer=OIDC, signer=None, head={}, change={"act": None})
@example(issuer=OIDC, signer=None, head={}, change={"nbf": None})
@example(issuer=OIDC, signer=None, head={}, change={"sub": "spiffe://example.org/a\nb"})
@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_anything_at_once(
    both: Both, issuer: stand.Issuer, signer: stand.Issuer | None, head: dict[str, Any], change: dict[str, Any]
) -> None:
    now = int(time.time())
    said = {name: now + one[1] if isinstance(one, tuple) else one for name, one in change.items()}
    assert compared(both, {"it": token(issuer, head, key=signer, **said)}) == {}


def test_every_case_of_bad_input_that_has_an_identity(running: Both) -> None:
    there = world.World(int(time.time()))
    running.trust(there.state(lease_seconds=3000))
    tokens = {}
    for folder in FOLDERS:
        asked = maker(folder).request(there)
        identity = asked.get("identity") if isinstance(asked, dict) else None
        if isinstance(identity, dict) and isinstance(identity.get("token"), str):
            tokens[folder.name] = identity["token"]
    assert len(tokens) > 50
    assert compared(running, tokens) == {}
