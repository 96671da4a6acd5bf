"""Syntax trees by either way of asking OPA: the same trees, whatever a module's size, and in bounded memory."""

import json

import pytest

from app.core import determinism, rego_parser
from app.core.bundle import modules_of, read_directory
from app.core.compose import Library
from app.core.errors import Denied
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.shipped import shipped

#: What the two could write differently: numbers, text, comments, annotations, and every kind of term.
PECULIAR = rb"""# METADATA
# title: A policy
package app.peculiar

import data.lists as names

# METADATA
# description: Numbers
# custom:
#   type: call
#   value: [1]
numbers := [1e3, 1.0, 1E+2, 0.10, 100000000000000000000, -0, -5, 1.50e-2, 12345678901234567890.12345678901234567890]
text := ["<>&\u2028\u0000", `raw\n`, $"a {numbers} b"]
values := {"z": 1, "a": {1, 2, "q", [1]}, 3: null, true: false}
d if { some k, v in input; every q in v { q > 1; not k } } else := 5 if { input.x with input.y as 3 } else := {x | x := names[_]}
e[x] := z if { x := 1; z := [y | y := x] }
f(x, _) := {k: v | some k, v in x}
g contains x if { x := {}; set() == x }
default h := 3
i.j.k := 4
"""  # noqa: E501


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


def by(opa, monkeypatch, modules, *, alone):
    """The modules, each read by a process of its own, or together."""
    asked = []
    run = Opa.run

    def noted(self, arguments, **options):
        asked.append(arguments[0])
        return run(self, arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(rego_parser, "_LARGE", 0 if alone else 10**9)
        patched.setattr(Opa, "run", noted)
        found = opa.inspect(modules)
    assert (asked == ["parse"] * len(modules)) if alone else (set(asked) == {"eval"})
    return found


@pytest.mark.parametrize("name", ["peculiar", "library", "payments"])
def test_both_ways_give_the_same(opa, monkeypatch, name):
    modules = {
        "peculiar": lambda: {"dir/peculiar.rego": PECULIAR},
        "library": lambda: Library.shipped().modules,
        "payments": lambda: modules_of(read_directory(shipped("bundles") / "payments")),
    }[name]()
    alone, together = (by(opa, monkeypatch, modules, alone=alone) for alone in (True, False))
    assert [one.file for one in alone] == sorted(modules)
    for one, other in zip(alone, together, strict=True):
        assert (one.file, one.package, one.rules) == (other.file, other.package, other.rules)
        assert json.dumps(one.syntax, sort_keys=True) == json.dumps(other.syntax, sort_keys=True)
        assert not {"comments", "annotations"} & one.syntax.keys()


def test_many_modules_are_read_by_several_processes(opa, monkeypatch):
    monkeypatch.setattr(rego_parser, "_TOGETHER", 200)
    modules = {f"m{n:02}.rego": f"package app.m{n}\n\nallow if input.x == {n}\n".encode() for n in range(40)}
    modules["large.rego"] = b"package large\n\n" + b"# a comment\n" * 1000 + b"allow := true\n"
    found = opa.inspect(dict(reversed(modules.items())))
    assert [one.file for one in found] == sorted(modules)
    assert {one.package for one in found} == {"large", *(f"app/m{n}" for n in range(40))}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    "source",
    [b"package p\na := {", b"", b"allow := true\n", b"package p\n# \0\n", b"package p\n\nx := " + b"9" * 5000 + b"\n"],
)
def test_one_that_does_not_parse_is_refused_whatever_its_size(opa, monkeypatch, source, large):
    monkeypatch.setattr(rego_parser, "_LARGE", -1 if large else 10**9)
    with pytest.raises(Denied) as denied:
        opa.inspect({"a.rego": source, "good.rego": b"package p\n\nx := 1\n"})
    assert denied.value.reason == Reason.REGO_COMPILE


def test_what_opa_indents_to_gigabytes_is_read_in_bounded_memory(opa, monkeypatch):
    """Ten sums of 1,500 terms in 30 KB: `opa parse` would take 2.6 GB for them."""
    source = b"package app\n\n" + b"".join(b"x%d := %s\n" % (n, b"+".join([b"1"] * 1500)) for n in range(10))
    limits = []
    run = Opa.run

    def limited(self, arguments, *, memory=None, **options):
        answer = run(self, arguments, memory=memory, **options)
        if arguments[0] == "parse":
            limits.append((memory, answer.returncode != 0))
        return answer

    monkeypatch.setattr(Opa, "run", limited)
    with pytest.raises(Denied) as denied:  # the other way reads it, and JSON so deep is not followed
        opa.inspect({"deep.rego": source})
    assert denied.value.detail == "a module is nested too deeply"
    [(memory, failed)] = limits
    assert failed
    assert memory < 200 * 1024 * 1024


def test_a_line_that_takes_too_much_memory_to_find_is_left_out(opa, monkeypatch):
    """The finding stays, without its line."""
    source = b'package app\n\nx := sprintf("%p", [input.x])\n'
    modules = opa.inspect({"a.rego": source})
    [found] = determinism.all_findings(modules, {"a.rego": source}, opa)
    assert found.said.startswith("a.rego:3: sprintf")
    monkeypatch.setattr(rego_parser, "_MEMORY", 1024 * 1024)
    [found] = determinism.all_findings(modules, {"a.rego": source}, opa)
    assert found.said.startswith("a.rego: sprintf")
