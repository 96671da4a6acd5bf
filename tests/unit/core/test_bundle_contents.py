import json

import pytest

from app.core import bundle_contents
from app.core.bundle_contents import difference
from app.core.errors import Denied
from app.core.opa import Opa

from .tars import bundle, member, packed

RULES = b"package app\n\nimport data.lib.a as l\n\nallow if l.f(input.x)\n\ndeny if input.y\n"


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


def read(opa, files, **members):
    return bundle_contents.read(bundle(files, **members), b"", [], opa)


def changes(opa, was, becomes, **members):
    return difference(read(opa, was), read(opa, becomes, **members))


def test_what_is_in_a_bundle(opa):
    contents = read(
        opa, {"app.rego": RULES + b"\nn := count(input.z)\n", "data.json": b'{"app": {"u": [1]}}'}
    ).as_dict()
    [module] = contents["modules"]
    assert module == {"file": "app.rego", "package": "app", "rules": ["app.allow", "app.deny", "app.n"]}
    assert contents["data"] == [{"file": "data.json", "bytes": 19}]
    assert "count" in contents["builtins"]
    assert "l.f" not in contents["builtins"]
    assert contents["manifest"]["roots"] == ["app"]
    assert contents["evidence"] == []
    assert json.dumps(contents)


def test_a_rule_of_several_definitions_is_listed_once(opa):
    several = b"package app\n\nb contains 1\n\nb contains 2\n\ndefault a := false\n\na if input.x\n\na if input.y\n"
    [module] = read(opa, {"app.rego": several}).as_dict()["modules"]
    assert module["rules"] == ["app.b", "app.a"]


def test_a_bundle_of_opas_own_is_shown_with_its_faults(opa):
    raw = packed(
        member(b"/app.rego", b"package app\n\nallow if input.x\n"),
        member(b"/.manifest", b'{"revision": "", "roots": [""]}'),
        member(b"/patch.json", b'{"data": []}'),
    )
    contents = bundle_contents.read(raw, b"", [], opa).as_dict()
    assert contents["manifest"]["roots"] == [""]
    assert {one["field"] for one in contents["faults"]} == {"roots", "patch.json"}


def test_what_is_no_bundle(opa):
    with pytest.raises(Denied):
        bundle_contents.read(b"junk", b"", [], opa)


def test_evidence_that_cannot_be_read_is_said_to_be_so(opa):
    [claim] = bundle_contents.read(bundle(), b"{}", [], opa).evidence
    assert claim["predicate"] == "unreadable"
    assert claim["fault"]


def test_rules_added_removed_and_changed(opa):
    becomes = b"package app\n\nimport data.lib.a as l\n\nallow if not l.f(input.x)\n\nmore if input.y\n"
    found = changes(opa, {"app.rego": RULES}, {"app.rego": becomes})
    assert found["rules"] == {"added": ["app.more"], "removed": ["app.deny"], "changed": ["app.allow"]}


def test_a_second_definition_is_a_change(opa):
    found = changes(opa, {"app.rego": RULES}, {"app.rego": RULES + b"\nallow if input.admin\n"})
    assert found["rules"] == {"added": [], "removed": [], "changed": ["app.allow"]}


def test_an_import_that_means_something_else_changes_the_rules_that_use_it(opa):
    found = changes(opa, {"app.rego": RULES}, {"app.rego": RULES.replace(b"data.lib.a as l", b"data.lib.b as l")})
    assert found["rules"] == {"added": [], "removed": [], "changed": ["app.allow"]}


def test_comments_places_and_files_mean_nothing(opa):
    moved = RULES.replace(b"allow if", b"# why\n\n\nallow if")
    lines = [b"package app\n\nimport data.lib.a as l\n\nallow if l.f(input.x)\n", b"package app\n\ndeny if input.y\n"]
    found = changes(opa, {"app.rego": RULES}, {"app.rego": moved})
    assert found["rules"] == {"added": [], "removed": [], "changed": []}
    assert found["same"] is False
    found = changes(opa, {"app.rego": RULES}, {"app.rego": lines[0], "x/more.rego": lines[1]})
    assert found["rules"] == {"added": [], "removed": [], "changed": []}


def test_data_by_its_values(opa):
    was = {"data.json": b'{"app": {"keep": 1, "gone": {"a": 1}, "n": 1.0}}'}
    found = changes(opa, was, {"app/data.json": b'{"keep": 1, "new": [true], "n": 2.0}'})
    assert found["data"] == {
        "added": ["app.new[0]"],
        "removed": ["app.gone.a"],
        "changed": [{"path": "app.n", "from": "1.0", "to": "2.0"}],
    }


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ({"limit": {"eur": 1}}, {"limit": {"eur": 999}, "limit.eur": 1}),
        ({"limit": {"eur": 1}}, {"limit.eur": 1}),
        ({"limit": [1]}, {"limit[0]": 1}),
        ({"limit": {'a["b"]': 1}}, {"limit": {"a": {"b": 1}}}),
    ],
)
def test_no_name_of_a_member_hides_what_changed(opa, was, becomes):
    found = changes(opa, *({"data.json": json.dumps({"app": one}).encode()} for one in (was, becomes)))
    assert any(found["data"].values())


def test_long_values_are_cut(opa):
    found = changes(opa, {"data.json": b'{"app": "x"}'}, {"data.json": json.dumps({"app": "y" * 5000}).encode()})
    assert len(found["data"]["changed"][0]["to"]) < 250


def test_manifest_members(opa):
    found = changes(opa, {}, {}, revision="r2")
    assert found["manifest"] == [{"member": "revision", "from": '"r1"', "to": '"r2"'}]


def test_the_same_bundle(opa):
    found = changes(opa, {"app.rego": RULES}, {"app.rego": RULES})
    assert found["same"] is True
    assert not any(any(found[what].values()) for what in ("rules", "data", "signers", "evidence"))


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("0.12345678901234567890", "0.12345678901234567891"),  # the same double
        ("12345678901234567890", "12345678901234567891"),
        ("1.0", "1.00"),  # other text in a message
        ("1e2", "100"),
    ],
)
def test_numbers_are_compared_and_shown_as_they_are_written(opa, was, becomes):
    def files(number):
        return {
            "app.rego": f"package app\n\nlimit := {number}\n".encode(),
            "data.json": f'{{"n": [{number}]}}'.encode(),
        }

    found = difference(*(read(opa, files(one), roots=["app", "n"]) for one in (was, becomes)))
    assert found["data"]["changed"] == [{"path": "n[0]", "from": was, "to": becomes}]
    assert found["rules"]["changed"] == ["app.limit"]
    same = difference(read(opa, files(was)), read(opa, files(was) | {"x_test.rego": b"package x"}))
    assert not (same["data"]["changed"] or same["rules"]["changed"])


def test_numbers_of_the_manifest_are_compared_as_they_are_written(opa):
    def built(number):
        manifest = f'{{"roots": ["app"], "metadata": {{"budget": {number}}}}}'.encode()
        return bundle_contents.read(packed(member(b"/.manifest", manifest)), b"", [], opa)

    [changed] = difference(built("0.1"), built("0.10000000000000000001"))["manifest"]
    assert changed == {"member": "metadata.budget", "from": "0.1", "to": "0.10000000000000000001"}
