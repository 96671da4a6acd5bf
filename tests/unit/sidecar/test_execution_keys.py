import json
import time

import jwt
import pytest

from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason
from app.sidecar import execution_keys
from app.sidecar.execution_keys import LIFETIME, ROTATION, ExecutionKeys

CLAIMS = {"iss": "spiffe://example.org/sidecar/s/n", "aud": "spiffe://example.org/system/s", "sub": "a", "exe": "e"}


@pytest.fixture
def clock(monkeypatch):
    """A wall clock that a test moves."""
    now = [int(time.time())]
    monkeypatch.setattr(execution_keys.time, "time", lambda: float(now[0]))
    return now


@pytest.fixture
def path(tmp_path):
    return tmp_path / "execution-keys.json"


def opened(path):
    keys = ExecutionKeys(path)
    keys.open()
    keys.written(keys.public())
    return keys


def claims(**more):
    now = int(time.time())
    return {**CLAIMS, "iat": now, "exp": now + LIFETIME, **more}


def verify(keys, token):
    return keys.verify(token, CLAIMS["iss"], CLAIMS["aud"])


def test_a_token_is_verified_by_what_the_trust_state_holds(path):
    keys = opened(path)
    token = keys.sign(claims())
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "EdDSA", "kid": header["kid"], "typ": "execution+jwt"}
    public = keys.public()[header["kid"]]
    assert public["alg"] == "EdDSA"
    [jwk] = json.loads(public["jwks"])["keys"]
    assert "d" not in jwk
    assert jwt.decode(token, jwt.PyJWK(jwk).key, ["EdDSA"], audience=CLAIMS["aud"])["exe"] == "e"
    assert keys.headers() == {token.split(".")[0]: header["kid"]}
    assert verify(keys, token)["exe"] == "e"


def test_the_file_is_private(path):
    opened(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_key_signs_before_opa_knows_it(path, clock):
    keys = ExecutionKeys(path)
    keys.open()
    with pytest.raises(PlacetError, match="OPA does not know"):
        keys.sign(claims())
    [first] = keys.public()
    keys.written([first])
    clock[0] += ROTATION
    keys.rotate_when_due()
    [still, new] = keys.public()
    assert jwt.get_unverified_header(keys.sign(claims()))["kid"] == still == first
    keys.written([still, new])
    assert jwt.get_unverified_header(keys.sign(claims()))["kid"] == new


def test_each_start_has_a_new_key_and_a_token_outlives_it(path, clock):
    before = opened(path)
    token = before.sign(claims())
    after = opened(path)
    assert len(after.public()) == 2
    assert verify(after, token)["exe"] == "e"
    assert jwt.get_unverified_header(after.sign(claims()))["kid"] not in before.public()


def test_a_retired_key_is_forgotten_when_its_tokens_have_expired(path, clock):
    opened(path)
    keys = opened(path)
    assert len(keys.public()) == 2
    clock[0] += LIFETIME
    keys.rotate_when_due()
    assert len(keys.public()) == 2
    clock[0] += 100
    keys.rotate_when_due()
    [left] = keys.public()
    assert len(json.loads(path.read_bytes())["keys"]) == 1
    assert left in path.read_text()


def test_a_clock_set_back_keeps_no_key_for_ever(path, clock):
    opened(path)
    opened(path)
    clock[0] -= 10 * ROTATION
    keys = opened(path)
    clock[0] += LIFETIME + 100
    keys.rotate_when_due()
    assert len(keys.public()) == 1


def test_restarts_do_not_add_up(path, clock):
    for _ in range(20):
        keys = opened(path)
    assert len(keys.public()) == 8


def test_a_damaged_file(path):
    for damage in (b"", b"{}", b"[1]", b'{"keys":[{"kid":"a","pem":"x","made":1}]}', b'{"keys":1}', b"[]x"):
        path.write_bytes(damage)
        with pytest.raises(PlacetError, match="damaged"):
            opened(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "spiffe://example.org/sidecar/s/other"}, Reason.EXECUTION_INVALID),
        ({"aud": "spiffe://example.org/system/other"}, Reason.EXECUTION_INVALID),
        ({"exe": None}, Reason.EXECUTION_INVALID),
        ({"exp": 0}, Reason.EXECUTION_EXPIRED),
        ({"exp": None}, Reason.EXECUTION_INVALID),
        ({"iat": 1000}, Reason.EXECUTION_INVALID),
    ],
)
def test_tokens_that_do_not_count(path, change, reason):
    """Times are seconds from now: parameters are made long before a test runs."""
    keys = opened(path)
    now = int(time.time())
    changed = claims(**{name: now + value if isinstance(value, int) else value for name, value in change.items()})
    token = keys.sign({name: value for name, value in changed.items() if value is not None})
    with pytest.raises(Denied) as denied:
        verify(keys, token)
    assert denied.value.reason == reason


def test_forged_tokens(path, tmp_path):
    keys, others = opened(path), opened(tmp_path / "other.json")
    good = keys.sign(claims())
    [kid] = keys.public()
    head, body, signature = good.split(".")
    secret = json.loads(keys.public()[kid]["jwks"])["keys"][0]["x"]
    forged = [
        others.sign(claims()),
        f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        f"{head}.{body}.",
        jwt.encode(claims(), None, "none", {"kid": kid, "typ": "execution+jwt"}),
        jwt.encode(claims(), secret, "HS256", {"kid": kid, "typ": "execution+jwt"}),
        jwt.encode(
            claims(), others._private[next(iter(others.public()))], "EdDSA", {"kid": kid, "typ": "execution+jwt"}
        ),
        jwt.encode(claims(), keys._private[kid], "EdDSA", {"kid": kid, "typ": "JWT"}),
        jwt.encode(claims(), keys._private[kid], "EdDSA", {"kid": kid, "typ": "execution+jwt", "x": 1}),
        "",
        "a.b.c",
        "x" * 100,
    ]
    for token in forged:
        with pytest.raises(Denied) as denied:
            verify(keys, token)
        assert denied.value.reason == Reason.EXECUTION_INVALID
    assert verify(keys, good)


def test_a_renewal_that_cannot_be_written_is_made_up_for(path, monkeypatch):
    keys = opened(path)
    token = keys.sign(claims())

    def full(*_, **__):
        raise PlacetError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(execution_keys, "write_atomically", full)
        for renew in (keys.renew, keys.rotate_when_due, keys.rotate_when_due):
            with pytest.raises(PlacetError, match="No space"):
                renew()
            with pytest.raises(Denied):
                verify(keys, token)
            with pytest.raises(PlacetError, match="OPA does not know"):
                keys.sign(claims())
    keys.rotate_when_due()
    assert len(keys.public()) == 1
    keys.written(keys.public())
    assert verify(keys, keys.sign(claims()))
    with pytest.raises(Denied):
        verify(opened(path), token)
