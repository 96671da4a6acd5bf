"""OPA as a tool: the real binary, on modules that people and attackers write."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from app.core import opa as opas
from app.core.bundle import parse_bundle
from app.core.compose import Library, compose
from app.core.errors import Denied, PlacetError
from app.core.forbidden_builtins import FORBIDDEN_BUILTINS
from app.core.opa import Opa
from app.core.reason_codes import Reason

from .tars import bundle


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


def refusal(opa, source, *, file="dir/a.rego", strict=False):
    with pytest.raises(Denied) as denied:
        opa.check({file: source}, strict=strict)
    assert denied.value.reason == Reason.REGO_COMPILE
    assert "\n" not in denied.value.detail
    return denied.value.detail


# ---- check -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        '{"$ref": "file:///PIPE"}',
        '{"\\x24ref": "file:///PIPE"}',  # the same in YAML
        '{"type": "object", "properties": {"x": {"allOf": [{"$ref": "file:///PIPE"}]}}}',
        '{"$ref": "https://example.org/schema.json"}',
        '{"$ref": "#"}',  # a stack of 1 GB, then the end of OPA
        '{"allOf": [{"$ref": "#/allOf/0"}]}',  # no end
    ],
)
@pytest.mark.parametrize("member", ["schemas", '"\\x73chemas"'])
def test_a_schema_that_the_compiler_would_follow_somewhere(opa, tmp_path, schema, member):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # whoever opens it waits
    written = schema.replace("/PIPE", str(pipe))
    source = f"package p\n\n# METADATA\n# {member}:\n#   - input: {written}\na := input.x\n".encode()
    assert refusal(opa, source) == (
        "dir/a.rego:6:1: a schema in an annotation has a $ref, which OPA would follow: write out what it stands for"
    )


def test_a_schema_that_stands_for_itself_is_compiled(opa):
    schema = '{"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": false}'
    source = f"package p\n\n# METADATA\n# schemas:\n#   - input: {schema}\na if input.WHAT == `1`\n"
    opa.check({"a.rego": source.replace("WHAT", "x").encode()})
    assert "undefined ref: input.y" in refusal(opa, source.replace("WHAT", "y").encode())
    assert refusal(opa, b"package p\n\n# METADATA\n# schemas: [[\na := 1\n").startswith("dir/a.rego:4:1: yaml")


@pytest.mark.parametrize(
    ("source", "start"),
    [
        (b"package p\n\nallow := {\n", "dir/a.rego:4:"),
        (b"package p\n\nallow if x == y\n", "dir/a.rego:3:"),
        (b"package p\nallow := nothing(1)\n", "dir/a.rego:2:10: "),
        (b"package p\na := b\nb := a\n", "dir/a.rego:"),
        (b"package p\nallow { 1 == 1 }\n", "dir/a.rego:2:1: "),
        (b"package p\n# \xff\n", "dir/a.rego:2:1: "),
        (b"package p\n# \0\n", "dir/a.rego:2:1: "),
        (b"", "dir/a.rego:0:0: empty module"),
        (b"# nothing but a comment\n", "dir/a.rego:0:0: empty module"),
        (b"allow := true\n", "dir/a.rego:1:1: "),
        (b"package p\n# METADATA\n# scope: nonsense\na := 1\n", "dir/a.rego:2:1: "),
        (
            b'package p\n# METADATA\n# schemas:\n#  - input: {"$ref": "http://127.0.0.1:1/x"}\na if input.x\n',
            "dir/a.rego:",
        ),
    ],
)
def test_an_error_names_its_place(opa, source, start):
    assert refusal(opa, source).startswith(start)


def test_the_authors_strict_mode(opa):
    source = b"package p\n\nimport data.unused\n\nallow := true\n"
    opa.check({"a.rego": source})
    assert "unused" in refusal(opa, source, strict=True)


@pytest.mark.parametrize("name", ["a b.rego", ".hidden.rego", ".dir/a.rego", "a=b.rego", "x_test.rego", "a/b/c/d.rego"])
def test_every_module_is_checked_whatever_its_name(opa, name):
    assert (
        refusal(opa, b"package p\n\na := opa.runtime()\n", file=name) == f"{name}:3:6: undefined function opa.runtime"
    )


@pytest.mark.parametrize("name", sorted(FORBIDDEN_BUILTINS))
def test_a_forbidden_builtin(opa, name):
    builtins = {one["name"]: one for one in json.loads(opa.run(["capabilities", "--current"]).stdout)["builtins"]}
    operands = ", ".join(["x"] * len(builtins[name]["decl"].get("args", [])))  # the name is known: not misspelt
    source = f"package p\na := y if {{ x := input; y := {name}({operands}) }}\n"
    assert f"undefined function {name}" in refusal(opa, source.encode())


def test_nothing_that_depends_on_chance_or_network_is_left(opa):
    every = json.loads(opa.run(["capabilities", "--current"]).stdout)["builtins"]
    left = {one["name"] for one in every if one.get("nondeterministic")} - FORBIDDEN_BUILTINS
    assert left == {"time.now_ns", "io.jwt.decode_verify"}


@pytest.mark.parametrize(
    "rule",
    [
        "x := 1 with http.send as f",
        "x := 1 with opa.runtime as {}",
        'x := count("a") with count as http.send',
        "x := data.p.f(1) with data.p.f as http.send",
        "x := 1 with data.p.f as opa.runtime",
    ],
)
def test_a_forbidden_builtin_by_way_of_with(opa, rule):
    refusal(opa, f"package p\nf(_) := 1\na := x if {{ {rule} }}\n".encode())


def test_ten_thousand_rules_are_checked_in_time(opa):
    rules = "".join(f'allow if {{ input.user == "u{n}"; input.action == "a{n % 7}" }}\n' for n in range(10_000))
    modules = {"big.rego": f"package app\n\ndefault allow := false\n\n{rules}".encode()}
    began = time.monotonic()
    opa.check(modules)
    [module] = opa.inspect(modules)
    assert len(module.rules) == 10_001
    assert time.monotonic() - began < 30


# ---- inspect -----------------------------------------------------------------------------------------------


def test_packages_and_rules(opa):
    source = b"""package a.b["c-d"]
import data.x
default allow := false
allow if input.y
e.f["g-h"] := 1
p contains 1
q[x].z := 1 if some x in [1]
f(x) := x
"""
    [module] = opa.inspect({"x/y.rego": source})
    assert (module.file, module.package) == ("x/y.rego", "a/b/c-d")
    names = [rule.removeprefix("a/b/c-d/") for rule in module.rules]
    assert names == ["allow", "allow", "e/f/g-h", "p", "q", "f"]


@pytest.mark.parametrize(
    "source", [b"", b"# only a comment\n", b"package p\na := {", b"package p\n\xff", b"package p\n# \0"]
)
def test_what_does_not_parse_is_not_passed_over(opa, source):
    with pytest.raises(Denied) as denied:
        opa.inspect({"a.rego": source, "good.rego": b"package p\n"})
    assert denied.value.reason == Reason.REGO_COMPILE


@pytest.mark.parametrize("size", [1, 5_000])  # either way of asking
def test_what_does_not_parse_is_named_with_its_place(opa, size):
    with pytest.raises(Denied) as denied:
        opa.inspect({"dir/a.rego": b"package p\n\nx := {\n" + b"#" * size, "good.rego": b"package p\n"})
    assert denied.value.detail.startswith("dir/a.rego:4:")
    assert denied.value.field == "dir/a.rego"


@pytest.mark.parametrize("package", ['p["b/c"]', 'p["/"]', 'data["system/log"]'])
def test_a_package_whose_name_has_a_slash(opa, package):
    with pytest.raises(Denied) as denied:
        opa.inspect({"a.rego": f"package {package}\n".encode()})
    assert denied.value.reason == Reason.REGO_OUTSIDE_ROOTS


def test_no_modules(opa):
    assert opa.inspect({}) == []


# ---- rehearse ----------------------------------------------------------------------------------------------


def composed(files=None, **members):
    return compose(parse_bundle(bundle(files, **members)), Library.shipped()).raw


def test_a_rehearsal_says_how_long_activation_takes(opa):
    assert 0 < opa.rehearse(composed()).activation_seconds < 10


@pytest.mark.parametrize(
    "files",
    [
        {"app.rego": b"package app\nallow if data.placet.decision.allow\n"},  # recursion through the library
        {"app.rego": b"package app\nallow := data.placet.policy.failures\n"},
        {"app.rego": b"package app\nallow := true\n", "data.json": b'{"app": {"allow": true}}'},
        {"app.rego": b"package app\nallow(x) := x\n"},
    ],
)
def test_what_would_not_activate(opa, files):
    with pytest.raises(Denied) as denied:
        opa.rehearse(composed(files))
    assert denied.value.reason == Reason.ACTIVATION_FAILED
    assert "\n" not in denied.value.detail


def test_a_library_that_does_not_deny_is_not_rehearsed_away(opa):
    raw = compose(
        parse_bundle(bundle()),
        Library("sha256:" + "0" * 64, {"decision.rego": b'package placet\n\ndecision := {"allow": true}\n'}),
    ).raw
    with pytest.raises(Denied, match="does not deny"):
        opa.rehearse(raw)
    nothing = compose(parse_bundle(bundle()), Library("sha256:" + "0" * 64, {"x.rego": b"package placet\n"})).raw
    with pytest.raises(Denied, match="no decision"):
        opa.rehearse(nothing)


def test_a_broken_bundle(opa):
    with pytest.raises(Denied) as denied:
        opa.rehearse(b"junk")
    assert denied.value.reason == Reason.ACTIVATION_FAILED


# ---- the binary --------------------------------------------------------------------------------------------


def test_version_and_digest(opa):
    assert opa.version.count(".") == 2
    assert opa.digest.startswith("sha256:")


def test_no_such_binary(tmp_path):
    with pytest.raises(PlacetError, match="there is no OPA at"):
        Opa(tmp_path / "opa")


def program(tmp_path, code):
    path = tmp_path / "opa"
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(0o755)
    return Opa(path)


def test_a_binary_that_cannot_run(tmp_path):
    path = tmp_path / "opa"
    path.write_text("x")
    with pytest.raises(PlacetError, match="cannot run"):
        Opa(path).check({"a.rego": b"package a\n"})


def test_a_binary_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(opas, "TIMEOUT", 0.2)
    with pytest.raises(PlacetError, match=r"opa version took more than 0\.2 s"):
        _ = program(tmp_path, "import time; time.sleep(60)").version


NESTED = b"package app\n\nx := " + b"[y | y := " * 40 + b"1" + b"]" * 40 + b"\n"  # twice as long a level


@pytest.mark.parametrize(
    ("ask", "reason", "command"),
    [
        (lambda opa: opa.check({"a.rego": NESTED}), Reason.REGO_COMPILE, "check"),
        (lambda opa: opa.rehearse(composed({"app.rego": NESTED})), Reason.ACTIVATION_SLOW, "eval"),
    ],
)
def test_what_compiles_for_years_is_denied_in_time(opa, monkeypatch, ask, reason, command):
    monkeypatch.setattr(opas, "COMPILING", 0.5)
    with pytest.raises(Denied) as denied:
        ask(opa)
    assert denied.value.reason == reason
    assert denied.value.detail == (
        f"opa {command} took more than 0.5 s; nest comprehensions less deeply, or write several rules in place of a "
        "large one"
    )


@pytest.mark.parametrize("size", [1, 10_000])
def test_many_modules_share_the_time_to_be_read(tmp_path, monkeypatch, size):
    monkeypatch.setattr(opas, "COMPILING", 0.5)
    deadlines = []
    run = Opa.run

    def noted(self, arguments, **options):
        deadlines.append(options["deadline"])
        return run(self, arguments, **options)

    monkeypatch.setattr(Opa, "run", noted)
    modules = {f"{number:02}.rego": b"package a\n" + b"#" * size for number in range(20)}
    with pytest.raises(Denied, match=r"took more than 0\.5 s") as denied:
        program(tmp_path, "import time; time.sleep(60)").inspect(modules)
    assert denied.value.reason == Reason.REGO_COMPILE
    assert len(deadlines) == (1 if size == 1 else 20)
    assert len(set(deadlines)) == 1


def test_a_binary_that_fails_is_not_a_policy_that_passes(tmp_path):
    with pytest.raises(PlacetError):
        program(tmp_path, "import sys; sys.exit('broken')").check({"a.rego": b"package a\n"})


def test_nothing_of_our_environment_reaches_opa(tmp_path, monkeypatch):
    monkeypatch.setenv("OPA_CHECK_STRICT", "true")
    monkeypatch.setenv("SECRET", "x")
    opa = program(tmp_path, "import os; print('Version:', sorted(set(os.environ) - {'LC_CTYPE'}))")
    assert opa.version == "['TZ']"


def test_no_scratch_is_left(opa, tmp_path, monkeypatch):
    monkeypatch.setattr(opas.tempfile, "tempdir", str(tmp_path))
    opa.check({"a.rego": b"package a\n"})
    refusal(opa, b"junk")
    opa.rehearse(composed())
    assert list(Path(tmp_path).iterdir()) == []
