"""What is remembered of a bundle's checks: that it passed, under this binary, with these builtins."""

import shutil

import pytest

from app.core.errors import PlacetError
from app.core.passed_checks import PassedChecks

DIGEST = "sha256:" + "0" * 64
NONE = frozenset()


@pytest.fixture
def binary(tmp_path):
    path = tmp_path / "opa"
    path.write_bytes(b"a program")
    return path


@pytest.fixture
def passed(binary):
    made = PassedChecks(binary)
    made.note(made.key(DIGEST, NONE))
    return made


def test_what_passed_is_remembered(passed):
    assert passed.holds(passed.key(DIGEST, NONE))


def test_another_bundle_did_not_pass(passed):
    assert not passed.holds(passed.key("sha256:" + "1" * 64, NONE))


def test_other_builtins_are_another_question(passed):
    assert not passed.holds(passed.key(DIGEST, frozenset({"rand.intn"})))


def test_another_opa_is_another_question(passed, binary, tmp_path):
    assert not PassedChecks(binary).holds(passed.key(DIGEST, NONE))
    other = tmp_path / "other"
    shutil.copy(binary, other)
    other.replace(binary)
    assert not passed.holds(passed.key(DIGEST, NONE))


def test_a_binary_that_changed_during_the_checks(passed, binary):
    before = passed.key("sha256:" + "2" * 64, NONE)
    binary.write_bytes(b"another program")
    passed.note(before)
    assert not passed.holds(passed.key("sha256:" + "2" * 64, NONE))


def test_a_binary_that_is_gone(passed, binary):
    binary.unlink()
    with pytest.raises(PlacetError, match="cannot run"):
        passed.key(DIGEST, NONE)


def test_the_least_used_are_forgotten(passed, monkeypatch):
    monkeypatch.setattr("app.core.passed_checks._MOST", 3)
    keys = [passed.key(f"sha256:{n:064}", NONE) for n in range(1, 4)]
    for key in keys[:2]:
        passed.note(key)
    assert passed.holds(passed.key(DIGEST, NONE))  # used now, so that the next goes before it
    passed.note(keys[2])
    assert [passed.holds(key) for key in keys] == [False, True, True]
    assert passed.holds(passed.key(DIGEST, NONE))
