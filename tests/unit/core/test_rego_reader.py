"""A small policy read by one process: what `check` and `inspect` say, or nothing; and each process for one policy."""

import json
import threading
import time
from pathlib import Path
from threading import Timer

import pytest

from app.core import opa as opas
from app.core import rego_reader
from app.core.bundle import modules_of, read_directory
from app.core.compose import Library
from app.core.errors import Denied, PlacetError
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.shipped import shipped

GOOD = {"a.rego": b"package a\n\nx := count(input.y)\n"}


@pytest.fixture
def opa(opa_binary):
    return Opa(opa_binary)


@pytest.fixture(scope="module")
def one(opa_binary):
    return Opa(opa_binary)


def program(directory, source):
    path = directory / "opa"
    path.write_text(f"#!/usr/bin/env python3\n{source}\n")
    path.chmod(0o755)
    return path


def asked_both(opa, modules, strict):
    try:
        opa.check(modules, strict=strict)
        return opa.inspect(modules)
    except Denied:
        return None


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "modules",
    [
        GOOD,
        {"a.rego": b"package a\n\nx := "},
        {"a.rego": b"package a\n\nx := y\n"},
        {"a.rego": b"package a\n\nx := 1 + input.y\n", "b/c.rego": b'package b\n\ny contains z if some z in ["q"]\n'},
        {"a.rego": b"package a\n\nimport data.b\n\nx := 1\n"},  # strict: it is unused
        {"a.rego": b"package a\n\nx := http.send({})\n"},
        {"a.rego": b'package a\n\nx := http["send"]({})\n'},
        {"a.rego": rb'package a\n\nx := json["p\u0061tch"]({}, [])'.replace(rb"\n", b"\n")},
        {"a.rego": b"package a\n\nx if { print(y) }\n"},
        {"a.rego": b"package a\n\nx if { print(input.y) }\n"},
        {"a.rego": b'package a\n\nx if { input.y with input as {"y": walk(1, _)} }\n'},
        {"a.rego": b"package a\n\nx := f(1) with f as opa.runtime\n\nf(y) := y\n"},
        {"a.rego": b"package a\n\nx := t if { t := $\"a {input.y} b\" }\n"},
        {"a.rego": b"package a\n\ncount(y) := y\n\nx := count(-input.z) | {1} & {2}\n"},
        {"a.rego": b"package a\n\nx := 1 if 1 < 2 else := rego.metadata.rule()\n"},
        {"a.rego": b"package a\n\nx := \xff\n"},
        {"a.rego": b"package a\n\nx := 1", "b.rego": b"package a.x\n\ny := 1\n"},
        {"a.rego": b"package a\n\nx := " + b"9" * 5000 + b"\n"},
        {"a.rego": b"package a\n\nx := " + b"[" * 2500 + b"]" * 2500 + b"\n"},
    ],
)  # fmt: skip
def test_it_says_what_check_and_inspect_say(one, modules, strict):
    assert one.accepted(modules, strict=strict) == asked_both(one, modules, strict)


@pytest.mark.parametrize("name", ["library", "payments"])
def test_it_gives_the_same_trees(one, monkeypatch, name):
    monkeypatch.setattr(opas, "_SMALL", 10**6)
    modules = {
        "library": lambda: {file: raw.replace(b"METADATA", b"") for file, raw in Library.shipped().modules.items()},
        "payments": lambda: modules_of(read_directory(shipped("bundles") / "payments")),
    }[name]()
    found = one.accepted(modules)
    assert found == one.inspect(modules)
    assert [one.file for one in found] == sorted(modules)


def test_only_builtins_that_the_policy_can_name_are_told(one):
    capabilities = json.loads(one.capabilities)
    told = rego_reader._needed(capabilities, [b'package a\n\nx := io.jwt.decode_verify(time["now_ns"](), 1)\n'])
    names = {builtin["name"] for builtin in told["builtins"]}
    assert {"io.jwt.decode_verify", "time.now_ns", "plus", "internal.member_2", "rego.parse_module"} <= names
    assert not {"count", "sprintf", "crypto.sha256", "io.jwt.decode"} & names
    assert {**told, "builtins": 0} == {**capabilities, "builtins": 0}


def test_allowed_builtins_are_told(one):
    modules = {"a.rego": b'package a\n\nx := uuid.rfc4122("")\n'}
    assert one.accepted(modules) is None
    assert one.accepted(modules, allowed=frozenset({"uuid.rfc4122"})) is not None


@pytest.mark.parametrize(
    "modules",
    [
        {"a.rego": b"package a\n\n" + b"#" * 10_000},
        {"a.rego": b"# METADATA\n# schemas:\n#   - input: {$ref: 'file:///x'}\npackage a\n"},
    ],
)
def test_what_is_large_or_may_make_opa_read_files_is_for_the_others(opa, monkeypatch, modules):
    monkeypatch.setattr(rego_reader.subprocess, "Popen", None)
    assert opa.accepted(modules) is None


def test_one_that_waits_is_used_once(opa):
    opa.expect()
    opa.expect()
    waiting = opa._readers._waiting[0]
    assert waiting._process.poll() is None
    assert [one.file for one in opa.accepted(GOOD)] == ["a.rego"]
    assert waiting._process.returncode == 0
    assert opa._readers._waiting is None


def test_one_that_is_busy_has_another_wait_after_each(opa_binary, monkeypatch):
    monkeypatch.setattr(opas, "Timer", lambda _, work: Timer(0, work))
    busy = Opa(opa_binary, busy=True)
    seen = []
    for number in range(3):
        assert busy.accepted({f"{number}.rego": b"package a\n"})[0].file == f"{number}.rego"
        for started in [one for one in threading.enumerate() if isinstance(one, Timer)]:
            started.join()
        seen.append(busy._readers._waiting[0])
    assert len({one._process.pid for one in seen}) == 3
    assert [one._process.poll() for one in seen] == [0, 0, None]
    seen[-1].end()
    assert seen[-1]._process.returncode == -9


def test_one_that_waits_is_not_used_for_another_binary_or_mode_nor_when_it_died(opa, opa_binary, tmp_path):
    opa.expect()
    waiting = opa._readers._waiting[0]
    assert opa.accepted(GOOD, strict=True) is not None
    assert waiting._process.returncode == -9

    opa.expect()
    opa._readers._waiting[0]._process.kill()
    assert opa.accepted(GOOD) is None  # the others are asked

    link = tmp_path / "opa"
    link.symlink_to(opa_binary)
    changing = Opa(link)
    assert "count" in changing.builtins
    changing.expect()
    waiting = changing._readers._waiting[0]
    link.unlink()
    program(tmp_path, "print('[]')")
    assert changing.accepted(GOOD) is None
    assert waiting._process.returncode == -9


@pytest.mark.parametrize(
    "source",
    [
        "print('[]')",
        "print('nonsense')",
        """print('[{"file": "a.rego"}]')""",
        """print('[{"file": "other.rego", "syntax": {}}]')""",
        "import sys; sys.exit(1)",
        "import os; os.kill(os.getpid(), 9)",
    ],
)
def test_a_binary_that_answers_something_else_accepts_nothing(opa_binary, tmp_path, source):
    known = Opa(opa_binary)._current
    opa = Opa(program(tmp_path, source))
    opa.__dict__["_current"] = known
    assert opa.accepted(GOOD) is None


def test_a_binary_that_cannot_be_run_is_one_clear_line(tmp_path):
    path = tmp_path / "opa"
    path.write_text("x")
    with pytest.raises(PlacetError, match="cannot run"):
        Opa(path).expect()


def test_what_takes_too_long_is_denied_once(opa, monkeypatch):
    """As `check` denies it: nobody else is asked, who would take as long again."""
    monkeypatch.setattr(opas, "COMPILING", 0.5)
    nested = b"package app\n\nx := " + b"[y | y := " * 40 + b"1" + b"]" * 40 + b"\n"
    said = r"opa check took more than 0\.5 s; nest comprehensions"
    for ask in (opa.accepted, opa.check):
        with pytest.raises(Denied, match=said) as denied:
            ask({"app.rego": nested})
        assert denied.value.reason == Reason.REGO_COMPILE


def test_no_scratch_is_left_nor_used_when_somebody_made_it(opa, tmp_path, monkeypatch):
    monkeypatch.setattr(rego_reader.tempfile, "tempdir", str(tmp_path))
    opa.expect()
    assert list(Path(tmp_path).iterdir()) == []
    assert opa.accepted(GOOD) is not None
    until = time.monotonic() + 10
    while list(Path(tmp_path).iterdir()):  # it goes after the answer
        assert time.monotonic() < until, "it stays"
        time.sleep(0.01)
    opa.expect()
    opa._readers._waiting[0]._scratch.mkdir()
    assert opa.accepted(GOOD) is None
