"""Rego from before OPA 1.0, converted: OPA itself says whether both mean the same."""

import base64
import gzip
import json

import pytest

from app.core import building, bundle_contents, older_rego, strict_json
from app.core.archive import read_archive
from app.core.bundle import digest_of, parse_bundle
from app.core.bundle_manifest import Choices
from app.core.bundle_source import Source, read
from app.core.errors import Denied
from app.core.opa import Opa

from .tars import END, member

pytestmark = pytest.mark.stack

#: What tells the values of every kind apart.
VALUES = (
    'null, true, false, 0, "", "a", "10.0.0.0/8", "10.1.2.3", "192.0.2.1", "[", [], [1, 1], [true], '
    '[true, false], [false], {}, {"a": true}, set(), {1, 2}, {2, 1, "x"}, {true}, {true, false}, {[3], {1}}'
)
UNARY = ("all", "any", "cast_array", "cast_boolean", "cast_null", "cast_object", "cast_set", "cast_string")
BINARY = ("net.cidr_overlap", "re_match", "set_diff")


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


def value(opa, directory, modules, *options):
    for path, content in modules.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    answer = opa.run(["eval", "--format", "raw", *options, "--data", str(directory), "data"])
    return json.loads(answer.stdout)


def both(opa, tmp_path, **sources):
    """What a policy of older Rego evaluates to, as it is and converted."""
    older = {f"{name}.rego": source.encode() for name, source in sources.items()}
    converted = older_rego.convert(older, opa)
    opa.check(converted)
    assert building.older_rego.convert(older, opa) == converted  # the same each time
    return (
        value(opa, tmp_path / "older", older, "--v0-compatible"),
        value(opa, tmp_path / "today", converted),
        converted,
    )


def test_builtins_that_are_no_more_do_what_they_did(opa, tmp_path):
    rules = [f'unary["{name}"] = [[x, y] | x = values[_]; y := {name}(x)] {{ true }}' for name in UNARY]
    rules += [
        f'binary["{name}"] = [[x, y, z] | x = values[_]; y = values[_]; z := {name}(x, y)] {{ true }}'
        for name in BINARY
    ]
    source = "\n\n".join(["package old", f"values = [{VALUES}] {{ true }}", *rules])
    was, becomes, _ = both(opa, tmp_path, old=source)
    assert was == becomes
    assert set(was["old"]["unary"]) == set(UNARY)
    assert all(was["old"]["binary"][name] for name in BINARY)


CHAINED = """package chained

import data.other as later

# ü: each body of a partial set, an object, a function and a rule; { and } in text
violation[{"msg": msg}] {
  msg := "} {"
} {
  # why
  not later.missing
  msg := "zwei é"
}	{ msg := "three" }

named["é ü"] { true } { false }

by[key] = size { key := "a"; size := 1 } { key := "b"; size := 2 }

f(x) = y { x == 1; y := "one" } # one
# two
{ x == 2; y := "two" }

asked = [f(1), f(2)] { true }

yes { false } { any([false, true]) }

no = true { false } else = "no" { true }
"""


def test_rules_with_several_bodies_keep_them_all(opa, tmp_path):
    was, becomes, converted = both(opa, tmp_path, chained=CHAINED, other="package other\n\nx = 1 { true }")
    assert was == becomes
    assert len(was["chained"]["violation"]) == 3
    text = converted["chained.rego"].decode()
    assert text.count("violation contains") == 3
    assert "# why" in text


@pytest.mark.parametrize(
    "hiding",
    [
        {"two": "package p\n\nany(x) = y { y := [x] }\n"},
        {"one": "package p\n\nimport data.q.any\n\nr = any([true]) { true }\n"},
    ],
)
def test_a_function_that_hides_a_builtin_is_not_taken_for_it(opa, hiding):
    older = {"one": "package p\n\nr = any([true]) { true }\n", **hiding}
    with pytest.raises(Denied, match=r"one\.rego:\d: .* deprecated built-in function calls in expression: any"):
        older_rego.convert({f"{name}.rego": source.encode() for name, source in older.items()}, opa)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (b"package p\n\np { input.x } { input.", "bad.rego:3:"),
        (b"package p\n\np = input.x { true\n", "bad.rego"),
        (b"package p\n\np { any([]) } # \xff", "not UTF-8"),
        (b"package p\n\nrego_v0_any(x) { x }\n", "choose others"),
        (b"package p\n\np { any([" + b"9" * 5000 + b"]) }\n", "too many digits"),
        (b"package p\n\nimport data.a\nimport data.b as a\n\np { a.x }\n", "bad.rego"),
    ],
)
def test_what_cannot_be_converted_is_named(opa, source, says):
    with pytest.raises(Denied) as denied:
        older_rego.convert({"good.rego": b"package g\n\nq { true }\n", "bad.rego": source}, opa)
    assert denied.value.reason == "rego.compile"
    assert says in denied.value.detail
    assert "\n" not in str(denied.value)


# ---- as a build does it --------------------------------------------------------------------------------------

OLD = b"package app\n\ndeny[x] { input.x; x := 1 } { input.y; x := 2 }\n"


def test_a_directory_is_converted_where_it_is_asked_for(opa, tmp_path):
    (tmp_path / "app.rego").write_bytes(OLD)
    source = read(str(tmp_path), git=False)
    with pytest.raises(Denied, match=r"older Rego .v0. is converted by `placet bundle build --v0-compatible`"):
        building.build([source], opa, choices=Choices(entrypoint="app/deny"))
    built = building.build([source], opa, choices=Choices(entrypoint="app/deny", older=True))
    assert built.converted == ("app.rego",)
    files = read_archive(built.bundle)
    assert b"deny contains x if" in files["app.rego"]
    assert json.loads(files[".manifest"])["metadata"]["placet"]["build"]["converted"] == "from Rego v0"
    # The provenance names what the author wrote.
    [noted] = json.loads(built.notes)["sources"]
    assert noted["digest"] == {"sha256": digest_of(OLD).removeprefix("sha256:")}


@pytest.mark.parametrize(
    "versions",
    [
        {"rego_version": 0, "file_rego_versions": {"/policy/new.rego": 1}},
        {"file_rego_versions": {"/policy/old.rego": 0}},
    ],
)
def test_a_bundle_says_itself_which_of_its_modules_are_older(opa, tmp_path, versions):
    new = b"package app.new\n\np if input.x\n"
    manifest = strict_json.canonical({"revision": "", "roots": ["app"], **versions})
    old = tmp_path / "old.tar.gz"
    files = {"/data.json": b"{}", "/policy/old.rego": OLD, "/policy/new.rego": new, "/.manifest": manifest}
    old.write_bytes(gzip.compress(b"".join(member(name.encode(), one) for name, one in files.items()) + END))
    built = building.build([read(str(old))], opa, choices=Choices(entrypoint="app/deny"))
    assert built.converted == ("policy/old.rego",)
    parsed = parse_bundle(built.bundle)
    assert parsed.modules["policy/new.rego"] == new
    before, after = (bundle_contents.read(one, b"", [], opa) for one in (old.read_bytes(), built.bundle))
    assert not any(bundle_contents.difference(before, after)["rules"].values())


@pytest.mark.parametrize("versions", [{"rego_version": 2}, {"rego_version": "0"}, {"file_rego_versions": {"/a": [0]}}])
def test_a_version_that_there_is_not_is_refused(opa, versions):
    source = Source("x", {".manifest": strict_json.canonical(versions), "a.rego": OLD})
    with pytest.raises(Denied) as denied:
        older_rego.converted(source, opa)
    assert denied.value.field == "rego_version"


def test_a_place_that_is_not_found_in_the_text_is_refused(opa, monkeypatch):
    """OPA's columns are trusted only where they lead to what OPA says stands there."""
    parsed = older_rego._parsed

    def moved(*arguments):
        syntax = parsed(*arguments)
        syntax["rules"][0]["location"]["text"] = base64.b64encode(b"something else").decode()
        return syntax

    monkeypatch.setattr(older_rego, "_parsed", moved)
    with pytest.raises(Denied, match="cannot be converted"):
        older_rego.convert({"app.rego": OLD}, opa)
