import jwt
import pytest

from app.sidecar import seen
from app.sidecar.seen import Executing, Nonces, jti_of


def test_a_nonce_is_used_once_while_its_proof_counts():
    nonces = Nonces()
    assert nonces.use("n", 1000.0)
    assert not nonces.use("n", 1062.0)
    assert nonces.use("m", 1000.0)
    assert nonces.use("n", 1071.0), "its proof is too old by then"
    assert not nonces.use(None, 1000.0)


def test_an_execution_has_one_owner_until_it_ends():
    executing = Executing()
    assert executing.claim("e", ("i", "a"), 1000.0, until=1100.0)
    assert executing.claim("e", ("i", "a"), 1001.0, until=1100.0)
    assert not executing.claim("e", ("i", "b"), 1099.0, until=1200.0)
    assert executing.claim("e", ("i", "b"), 1100.0, until=1200.0)


def test_beyond_its_bound_everything_is_refused_until_entries_end(monkeypatch):
    monkeypatch.setattr(seen, "MAX_ENTRIES", 3)
    nonces = Nonces()
    assert [nonces.use(name, 1000.0) for name in "abcd"] == [True, True, True, False]
    assert not nonces.use("e", 1030.0)
    assert nonces.use("e", 1080.0)


def test_nobody_alone_takes_the_room_of_all(monkeypatch):
    monkeypatch.setattr(seen, "SHARE", 3)
    executing = Executing()
    taken = [executing.claim(f"m-{n}", ("i", "mallory", f"w-{n}"), 1000.0, until=1100.0) for n in range(4)]
    assert taken == [True, True, True, False]
    assert executing.claim("m-0", ("i", "mallory", "w-0"), 1050.0, until=1200.0), "what runs may go on"
    assert executing.claim("a", ("i", "alice"), 1050.0, until=1200.0)
    assert executing.claim("m-4", ("i", "mallory"), 1150.0, until=1200.0), "two have ended"


def test_what_runs_may_go_on_when_the_room_is_full(monkeypatch):
    monkeypatch.setattr(seen, "MAX_ENTRIES", 1)
    executing = Executing()
    assert executing.claim("e", ("i", "a"), 1000.0, until=1100.0)
    assert not executing.claim("f", ("i", "b"), 1000.0, until=1100.0)
    assert executing.claim("e", ("i", "a"), 1000.0, until=1200.0)


@pytest.mark.parametrize(
    ("proof", "nonce"),
    [
        (jwt.encode({"jti": "n"}, "k" * 32), "n"),
        (jwt.encode({"jti": ""}, "k" * 32), None),
        (jwt.encode({}, "k" * 32), None),
        ("junk", None),
        (None, None),
        (1, None),
        (["a"], None),
    ],
)
def test_the_nonce_of_a_proof(proof, nonce):
    assert jti_of(proof) == nonce


def test_a_jti_of_another_type():
    head, _, signature = jwt.encode({}, "k" * 32).split(".")
    assert jti_of(f"{head}.eyJqdGkiOjF9.{signature}") is None
