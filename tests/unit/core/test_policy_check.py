"""A check names every fault at once, each with its place and a remedy; real OPA finds them."""

import json
import os
import re
import textwrap

import pytest
import yaml
from typer.testing import CliRunner

from app.core.errors import Denied, PlacetError, UsageError
from app.core.opa import Opa
from app.core.policy_check import check, unreadable
from app.core.policy_lint import lint
from app.core.policy_project import load
from app.core.policy_template import Template, create
from cli.policy import app as commands


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


@pytest.fixture
def policy(tmp_path):
    """A good policy, to which each test adds its fault."""
    return create("shop", Template.AI_AGENT, tmp_path)


def add(policy, name, text):
    (policy / "shop" / name).write_text(textwrap.dedent(text).lstrip())


def manifest(policy, roots, entrypoint):
    (policy / ".manifest").write_text(json.dumps({"roots": roots, "metadata": {"placet": {"entrypoint": entrypoint}}}))


def says_nothing_of_the_entrypoint(policy):
    (policy / ".manifest").unlink()
    rego = policy / "shop" / "authz.rego"
    rego.write_text(rego.read_text().replace("# METADATA\n# entrypoint: true\n", ""))


def found(policy, opa):
    return [(one.file.rsplit("/", 1)[1], one.line, one.column, one.kind) for one in check(load(policy), opa)]


@pytest.mark.parametrize("template", Template)
@pytest.mark.parametrize("name", ["x", "a-rather-long-name-for-a-policy-that-nobody-would-choose"])
def test_a_new_policy_has_no_fault(tmp_path, opa, template, name):
    assert check(load(create(name, template, tmp_path)), opa) == []


def test_every_fault_is_named_not_only_the_first(policy, opa):
    add(
        policy,
        "more.rego",
        """
        package shop.more

        import data.shop.authz

        a := c

        asks := http.send({"url": "https://example.org", "method": "get"})

        when := time.clock([time.now_ns(), "Local"])
        """,
    )
    add(policy, "syntax.rego", "package shop.syntax\n\nx { true }\n")
    add(policy, "loose.rego", "package shop.loose\n\na:=1\n")
    add(policy, "more_test.rego", "package shop.more_test\n\ntest_x if {\n\ty := 1\n}\n")
    assert found(policy, opa) == [
        ("loose.rego", 3, 1, "format"),
        ("more.rego", 3, 1, "compile"),
        ("more.rego", 5, 6, "compile"),
        ("more.rego", 7, 9, "compile"),
        ("more.rego", 9, 1, "determinism"),
        ("more_test.rego", 4, 2, "compile"),
        ("syntax.rego", 3, 1, "syntax"),
    ]


def test_what_a_broken_file_would_define_is_not_missed_elsewhere(policy, opa):
    add(policy, "syntax.rego", "package shop.syntax\n\nx { true }\n\nf(_) := 1\n")
    add(policy, "beside.rego", "package shop.syntax\n\na := f(1)\n\nb := data.shop.syntax.f(1)\n")
    assert found(policy, opa) == [("syntax.rego", 3, 1, "syntax")]


#: A module, and what is found: where, what OPA says, what to do.
FAULTS = {
    "older Rego": ("x {\n\ttrue\n}", "3:1", "`if` keyword is required", "write `if`"),
    "unsafe variable": ("a := c", "3:6", "var c is unsafe", "or import what it names"),
    "unused variable": ("f if {\n\tc := 1\n}", "4:2", "assigned var c unused", "delete the variable"),
    "unused import": ("import data.shop.authz\n\na := 1", "3:1", "unused", "delete the import"),
    "unused argument": ("f(x) := 1", "3:1", "unused argument x", "write _"),
    "forbidden builtin": ("a := rand.intn(`x`, 3)", "3:6", "undefined function rand.intn", "docs/determinism.md"),
    "misspelt builtin": ("a := cuont([])", "3:6", "undefined function cuont", "correct its name"),
    "outside the schema": ("f if input.action.nme == `x`", "3:6", "undefined ref: input.action.nme", "the schema"),
    "types": ("f if input.action.name == 1", "3:6", "match error", "the types do not fit"),
    "recursion": ("f if f", "3:1", "recursive", "may not depend on itself"),
    "mixed kinds": ("a := 1\n\na contains 2", "3:1", "conflicting rules", "rules of one name"),
    "determinism": ('a := sprintf("%p", [1])', "3:1", "%p gives an address", "docs/determinism.md"),
    "OPA's own data": ("f if {\n\tdata.system.x\n}", "4:1", "data.system.x is not the policy's", "docs/determinism.md"),
    "YAML": ("a := yaml.unmarshal(`x`)", "3:6", "undefined function yaml.unmarshal", "order of a map in memory"),
    "print": ("f if {\n\tprint(1)\n}", "4:1", "print writes between", "docs/determinism.md"),
    "unterminated": ("f if {", "4:0", "unexpected eof", "just before"),
    "unknown schema": (
        "# METADATA\n# schemas:\n#   - input: schema.nothing\na := 1",
        "6:1",
        "undefined schema",
        "placet",
    ),
    "broken annotation": ("# METADATA\n# scope: nowhere\na := 1", "3:1", "scope", ""),
}


#: Whole modules, and what is found first.
MODULES = {
    "empty": ("", "1:1", "empty module", "begins with its package"),
    "no package": ("a := 1\n", "1:1", "package expected", "begins with its package"),
    "older set": ("package shop.x\n\ny[1]\n", "3:1", "`contains` keyword", "name contains value"),
    "no name": ("package shop.x\n\n1 if true\n", "3:3", "unexpected if", "a rule is `name if"),
    "arity": ("package shop.x\n\ng if count([1], 2, 3)\n", "3:6", "arity mismatch", "the arguments that it takes"),
    "argument": ("package shop.x\n\nf(x) if x\n\ng if f(1, 2)\n", "5:6", "invalid argument", "types do not fit"),
    "two defaults": ("package shop.x\n\ndefault a := 1\n\ndefault a := 2\n", "1:1", "multiple default", "one name"),
    "shadow": ("package shop.x\n\nimport input.x\nimport data.x\n\na := x\n", "4:1", "shadow", "choose another name"),
    "assigned twice": ("package shop.x\n\nf if {\n\tx := 1\n\tx := 2\n}\n", "5:2", "assigned above", "one value"),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_commonest_mistakes_have_their_own_words(policy, opa, name):
    source, place, message, remedy = MODULES[name]
    add(policy, "fault.rego", source)
    faults = [one for one in check(load(policy), opa) if one.file.endswith("fault.rego") and message in one.message]
    assert faults
    assert f"{faults[0].line}:{faults[0].column}" == place
    assert remedy in faults[0].remedy


def test_what_is_printed_obeys_nobody(policy, opa):
    add(policy, "bad.rego", "package shop.bad\n\na := \x1b[31m\n")
    said = "".join(map(str, check(load(policy), opa)))
    assert said.isprintable()
    (policy / "shop" / "\x1b[2J.rego").write_text("package shop.worse\n\na := b\n")
    with pytest.raises(UsageError, match="rename the file") as refused:
        load(policy)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_its_place_and_its_remedy(policy, opa, fault):
    source, place, message, remedy = FAULTS[fault]
    add(policy, "fault.rego", f"package shop.fault\n\n{source}\n")
    faults = [one for one in check(load(policy), opa) if one.kind != "format"]
    assert len(faults) == 1, faults
    line, column = map(int, place.split(":"))
    assert (faults[0].line, faults[0].column) == (line, max(1, column)), faults[0]
    assert faults[0].file.endswith("shop/fault.rego")
    assert message in faults[0].message
    assert remedy in faults[0].remedy
    assert "placet-check-" not in faults[0].message


@pytest.mark.parametrize(
    ("damage", "file", "what"),
    [
        (lambda policy: add(policy, "out.rego", "package elsewhere\n\na := 1\n"), "out.rego", "outside the roots"),
        (says_nothing_of_the_entrypoint, "placet.yaml", "nothing says which rule decides"),
        (lambda policy: (policy / ".manifest").write_text("{"), ".manifest", "not JSON"),
        (lambda policy: manifest(policy, [""], "shop/authz/decision"), ".manifest", "'' is not a root"),
        (lambda policy: manifest(policy, [" shop"], "shop/authz/decision"), ".manifest", "a space or slash too many"),
        (lambda policy: manifest(policy, ["system"], "shop/authz/decision"), ".manifest", "reserved"),
        (lambda policy: manifest(policy, ["shop"], "shop/authz/nothing"), ".manifest", "no rule defines"),
        (lambda policy: (policy / "shop" / "data.json").write_text('{"a": 1, "a": 2}'), "data.json", "twice"),
        (lambda policy: (policy / "shop" / "._x").write_text(""), "._x", "macOS"),
        (lambda policy: (policy / "shop" / "x.yaml").write_text(""), "x.yaml", "neither Rego nor data.json"),
    ],
)
def test_what_the_verifier_would_refuse_is_found(policy, opa, damage, file, what):
    damage(policy)
    faults = check(load(policy), opa)
    assert {one.kind for one in faults} == {"bundle"}
    assert faults[0].file.endswith(f"/{file}")
    assert what in faults[0].message
    assert faults[0].remedy


def test_placet_yaml_may_say_what_a_manifest_would(policy, opa):
    (policy / ".manifest").unlink()
    (policy / "placet.yaml").write_text("entrypoint: shop/authz/decision\n")
    assert found(policy, opa) == []
    (policy / "placet.yaml").write_text("entrypoint: shop/authz/nothing\nroots: [other]\n")
    faults = check(load(policy), opa)
    assert {one.file.rsplit("/", 1)[1] for one in faults} == {"placet.yaml", "authz.rego", "data.json"} - {"data.json"}
    assert any("no rule defines shop/authz/nothing" in one.message for one in faults)
    assert any("outside the roots other" in one.message for one in faults)


def test_two_places_that_contradict_each_other_are_a_fault(policy, opa):
    (policy / "placet.yaml").write_text("entrypoint: shop/authz/agent\nroots: [shop, more]\n")
    faults = check(load(policy), opa)
    assert [one.message.split(" ")[0] for one in faults] == ["entrypoint", "roots"]
    assert all("delete it here" in one.remedy for one in faults)


def test_a_directory_of_schemas_serves_annotations(policy, opa):
    schemas = policy / "schemas"
    schemas.mkdir()
    (schemas / "input.schema.json").write_text((policy / "input.schema.json").read_text())
    (schemas / "limits.schema.json").write_text('{"type": "object", "properties": {"eur": {"type": "number"}}}')
    (policy / "placet.yaml").write_text("schema: schemas\n")
    head = "# METADATA\n# scope: package\n# schemas:\n#   - input: schema.input\n#   - data.limits: schema.limits\n"
    add(policy, "more.rego", head + "package shop.more\n\na := data.limits.eur\n\nb := data.limits.usd\n")
    faults = check(load(policy), opa)
    assert [(one.line, one.message) for one in faults] == [(10, "undefined ref: data.limits.usd")]


def test_a_schema_that_opa_would_follow_for_ever_is_named_and_not_followed(policy, opa):
    add(
        policy,
        "lib.rego",
        """
        package shop.lib

        # METADATA
        # schemas:
        #   - input: {"allOf": [{"$ref": "#/allOf/0"}]}
        a := input.b
        """,
    )
    assert ("lib.rego", 6, 1, "compile") in found(policy, opa)


def test_a_test_may_use_what_a_policy_may_not(policy, opa):
    add(policy, "more_test.rego", "package shop.more_test\n\ntest_x if rand.intn(`x`, 3) < 3\n")
    assert found(policy, opa) == []


def test_a_regal_that_does_not_run_is_told(policy, tmp_path, monkeypatch):
    regal = tmp_path / "bin" / "regal"
    regal.parent.mkdir()
    regal.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    regal.chmod(0o755)
    monkeypatch.setenv("PATH", f"{regal.parent}:{os.environ['PATH']}")
    with pytest.raises(PlacetError, match="regal lint failed: broken"):
        lint(load(policy))


def test_a_policy_that_opa_does_not_compile_in_time_is_a_finding(policy, opa_binary, monkeypatch):
    """The compiler takes twice as long for each comprehension inside another."""
    nested = "1"
    for number in range(60):
        nested = f"[x{number} | x{number} := {nested}]"
    add(policy, "nested.rego", f"package shop.nested\n\nx := {nested}\n")
    monkeypatch.setattr("app.core.opa.COMPILING", 1)
    done = CliRunner().invoke(commands, ["check", str(policy), "--opa", str(opa_binary), "--output", "json"])
    (one,) = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (one["file"], one["kind"]) == (str(policy), "compile")
    assert "took more than" in one["message"] and "nest comprehensions less deeply" in one["remedy"]


def test_findings_are_whole_lines(policy, opa):
    add(policy, "bad.rego", "package shop.bad\n\na := {\n\nb if \n")
    for one in check(load(policy), opa):
        assert re.fullmatch(r"[^\n]+:\d+:\d+: [^\n]+", str(one))
        assert one.remedy
        assert "\n" not in one.remedy


def test_faults_in_json_are_shown_where_they_stand(policy, opa):
    (policy / "shop" / "data.json").write_text('{\n  "agents": {}\n  "limits": {}\n}\n')
    assert found(policy, opa) == [("data.json", 3, 3, "bundle")]
    (policy / "shop" / "data.json").write_text('{"authz": {"decision": 1}}')
    assert found(policy, opa) == [("data.json", 1, 1, "bundle")]
    (policy / "shop" / "data.json").write_text("{}")
    (policy / ".manifest").write_text('{"roots": ["shop"],\n "rootz": []}')
    assert (".manifest", 2, 2, "bundle") in found(policy, opa)


def test_a_schema_that_is_none_is_named(policy, opa):
    (policy / "input.schema.json").write_text('{"type": "objec"}')
    (finding,) = check(load(policy), opa)
    assert finding.file.endswith("shop/input.schema.json")
    assert finding.remedy == "the schema is no JSON schema: correct what it names"


def test_what_a_build_writes_there_is_no_fault(policy, opa):
    # Nor the .git of a work tree, which is a file.
    for name in (".git", ".gitattributes", "shop.tar.gz", "shop.tar.gz.build.json", "report.xml"):
        (policy / name).write_text("x")
    for name in ("shop.tar.gz.sigstore.json", "shop.tar.gz.attestations.jsonl"):
        (policy / name).write_text("{}")
    assert check(load(policy), opa) == []


@pytest.mark.parametrize("template", Template)
def test_a_template_tells_regal_what_it_does_on_purpose(tmp_path, template):
    made = create("shop", template, tmp_path)
    rules = yaml.safe_load((made / ".regal" / "config.yaml").read_text())["rules"]
    assert rules["idiomatic"]["directory-package-mismatch"] == {"level": "ignore"}
    assert "# METADATA\n# entrypoint: true\ndecision := {" in (made / "shop" / "authz.rego").read_text()
    assert max(map(len, (made / "shop" / "authz.rego").read_text().expandtabs(1).splitlines())) <= 120


def test_a_builtin_that_the_system_allows_by_name(policy, opa):
    add(policy, "dice.rego", "package shop.dice\n\na := rand.intn(`x`, 3)\n\nb := uuid.rfc4122(`x`)\n")
    settings = policy / "placet.yaml"
    plain = settings.read_text()
    assert found(policy, opa) == [("dice.rego", 3, 6, "compile"), ("dice.rego", 5, 6, "compile")]
    assert "allowed_builtins in placet.yaml" in check(load(policy), opa)[0].remedy
    (one,) = check(load(policy), opa, ["rand.intn"])
    assert one.line == 5
    settings.write_text(plain + "allowed_builtins: [uuid.rfc4122]\n")
    (one,) = check(load(policy), opa)
    assert one.line == 3
    assert check(load(policy), opa, ["rand.intn"]) == []
    settings.write_text(plain + "allowed_builtins: [rand.int]\n")
    with pytest.raises(UsageError, match=r"placet\.yaml: allowed_builtins: rand\.int: OPA .* has no such builtin"):
        check(load(policy), opa)


def test_data_in_yaml_is_looked_at_and_shown_where_it_stands(policy, opa):
    (policy / "shop" / "data.json").rename(policy / "shop" / "data.yaml")  # JSON is YAML
    assert found(policy, opa) == []
    (policy / "shop" / "data.yaml").write_text("agents: {}\nauthz:\n  decision: 1\n")
    (one,) = check(load(policy), opa)
    assert one.file.endswith("shop/shop/data.yaml")
    assert "data.json" not in one.message


def test_what_cannot_be_read_is_a_fault_with_its_place(policy):
    data = policy / "shop" / "data.json"
    data.unlink()
    data.with_suffix(".yaml").write_text("agents: 1\nlimits: [\n")
    with pytest.raises(Denied) as denied:
        load(policy)
    one = unreadable(policy, denied.value)
    assert str(one).startswith(f"{policy}/shop/data.yaml:3:1: shop/data.yaml is no data: ")
    assert one.remedy == "correct the YAML there"


@pytest.mark.parametrize("text", ["f := {\n\t`a`: 1,\n", "f := [1,\n", 'f := "abc\n', "f := `abc\n"])
def test_what_opa_says_of_one_place_in_several_ways_is_one_fault(policy, opa, text):
    add(policy, "x.rego", f"package shop.x\n\n{text}")
    add(policy, "x_test.rego", "package shop.x_test\n\ntest_x if 1 == 1\n")
    assert [kind for *_, kind in found(policy, opa)] == ["syntax"]


def test_a_name_that_opa_fmt_cannot_write_is_said_to_be_one(policy, opa):
    add(policy, "escape.rego", 'package shop.escape\n\nlibrary["\\u001b[31m"] := true\n')
    with pytest.raises(PlacetError, match=r"opa fmt cannot write \S*shop/escape\.rego: a name in it has a control"):
        check(load(policy), opa)
