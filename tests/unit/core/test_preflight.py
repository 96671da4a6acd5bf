import json

import pytest

from app.core import preflight, verification
from app.core.bundle import parse_bundle
from app.core.errors import Denied, UsageError
from app.core.opa import Opa
from app.core.reason_codes import Reason

from .tars import POLICY, bundle, manifest


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


def files(**more):
    return {".manifest": manifest(), "app.rego": POLICY + b"\nallow if input.x\n"} | more


def test_a_sound_policy_has_no_faults(opa):
    assert preflight.check(files(), opa) == []


@pytest.mark.parametrize(
    ("changed", "reason", "name", "remedy"),
    [
        ({".manifest": b'{"metadata": {}}'}, Reason.MANIFEST_ROOTS, "names no roots", "infer"),
        ({".manifest": manifest(roots=["app", "app/x"])}, Reason.MANIFEST_ROOTS, "'app/x' overlaps", "delete"),
        ({".manifest": manifest(roots=["app "])}, Reason.MANIFEST_ROOTS, "'app ' is not a root", "write 'app'"),
        ({".manifest": manifest(roots=[""])}, Reason.MANIFEST_ROOTS, "'' is not a root", "leave roots out"),
        ({".manifest": manifest(roots=["app", "placet_x"])}, Reason.MANIFEST_ROOTS_RESERVED, "'placet_x'", "another"),
        ({"b.rego": b"package other\n"}, Reason.REGO_OUTSIDE_ROOTS, "b.rego is package other", "add its root"),
        ({"b.rego": b"package system.authz\n"}, Reason.REGO_OUTSIDE_ROOTS, "package system.authz", "reserved"),
        ({"b.rego": b"package placet.x\n"}, Reason.REGO_OUTSIDE_ROOTS, "package placet.x", "reserved"),
        ({"._app.rego": b"\0"}, Reason.ARCHIVE_STRAY, "'._app.rego' was left behind", "remove it"),
        ({"x/.DS_Store": b"\0"}, Reason.ARCHIVE_STRAY, "'x/.DS_Store' was left behind", "remove it"),
        ({"app.rego~": b""}, Reason.ARCHIVE_STRAY, "'app.rego~' was left behind", "remove it"),
        ({".app.rego.swp": b""}, Reason.ARCHIVE_STRAY, "'.app.rego.swp' was left behind", "remove it"),
        ({"patch.json": b'{"data": []}'}, Reason.ARCHIVE_STRAY, "an empty delta", "whole bundles"),
        ({"patch.json": b'{"data": [{"op": "add"}]}'}, Reason.ARCHIVE_STRAY, "for a delta", "data.json"),
        ({".signatures.json": b"{}"}, Reason.ARCHIVE_STRAY, "signature of OPA's own", "bundle sign"),
        ({"policy.wasm": b"\0asm"}, Reason.ARCHIVE_STRAY, "compiled policy", "-t rego"),
        ({"limits.json": b"{}"}, Reason.ARCHIVE_STRAY, "'limits.json'", "--ignore"),
        (
            {".manifest": manifest(metadata={"placet": {"entrypoint": "app/nothing"}})},
            Reason.MANIFEST_ENTRYPOINT,
            "no rule defines app/nothing",
            "correct",
        ),
        (
            {"b.rego": b"package app\n\nx := time.clock([1, input.zone])\n"},
            Reason.REGO_NONDETERMINISTIC,
            "b.rego:3: time.clock",
            "docs/determinism.md",
        ),
        (
            {"b.rego": b'package app\n\nx := rand.intn("x", 5)\n'},
            Reason.REGO_COMPILE,
            "b.rego:3:6: undefined function rand.intn",
            "docs/determinism.md",
        ),
        ({"data.json": b"[]"}, Reason.DATA_MALFORMED, "data.json", "one JSON object"),
    ],
)
def test_each_fault_has_its_name_and_its_remedy(opa, changed, reason, name, remedy):
    found = preflight.check(files(**changed), opa)
    [fault] = [one for one in found if one.reason == reason]
    assert name in fault.message
    assert remedy in fault.remedy


def test_all_faults_are_told_at_once(opa):
    wrong = files(
        **{
            ".manifest": manifest(roots=["app", "app/x", "y "]),
            "b.rego": b"package system.x\n",
            "patch.json": b"{}",
            "c.rego~": b"",
        }
    )
    assert {one.reason for one in preflight.check(wrong, opa)} == {
        Reason.ARCHIVE_STRAY,
        Reason.MANIFEST_ROOTS,
        Reason.REGO_OUTSIDE_ROOTS,
    }
    assert len(preflight.check(wrong, opa)) == 5


def test_a_directory_is_checked_as_its_files_are(opa, tmp_path):
    for name, content in files().items():
        (tmp_path / name).write_bytes(content)
    assert preflight.check(tmp_path, opa) == []
    (tmp_path / "patch.json").write_bytes(b'{"data": []}')
    assert [one.field for one in preflight.check(tmp_path, opa)] == ["patch.json"]
    (tmp_path / "link.rego").symlink_to("/nowhere")
    assert [one.reason for one in preflight.check(tmp_path, opa)] == [Reason.ARCHIVE_LINK]


# ---- the verifier raises the first of them -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "members", "reason", "field"),
    [
        ({"b.rego": b"package other\n"}, {}, Reason.REGO_OUTSIDE_ROOTS, "b.rego"),
        (
            {},
            {"metadata": {"placet": {"entrypoint": "app/no"}}},
            Reason.MANIFEST_ENTRYPOINT,
            "metadata.placet.entrypoint",
        ),
        ({"b.rego": b"package app\n\nx := sprintf(input.f, [1])\n"}, {}, Reason.REGO_NONDETERMINISTIC, "b.rego"),
    ],
)
def test_the_verifier_denies_the_same(opa, more, members, reason, field):
    with pytest.raises(Denied) as denied:
        verification.check_policy(parse_bundle(bundle(more, **members)), opa)
    assert (denied.value.reason, denied.value.step, denied.value.field) == (reason, "rego", field)


@pytest.mark.parametrize(
    ("more", "reason"),
    [({".b.rego.swp": b""}, Reason.ARCHIVE_STRAY), ({".#b.rego": POLICY}, Reason.ARCHIVE_STRAY)],
)
def test_the_verifier_denies_what_editors_left(more, reason):
    with pytest.raises(Denied) as denied:
        parse_bundle(bundle(more))
    assert denied.value.reason == reason


# ---- builtins that a system allows by name -----------------------------------------------------------------

ROLLS = b'package app\n\nroll := rand.intn("dice", 6)\n'


def test_a_builtin_may_be_allowed_by_name_and_no_other(opa):
    parsed = parse_bundle(bundle({"b.rego": ROLLS}))
    with pytest.raises(Denied, match=r"rand\.intn"):
        verification.check_policy(parsed, opa)
    with pytest.raises(Denied, match=r"rand\.intn"):
        verification.check_policy(parsed, opa, allowed=frozenset({"uuid.rfc4122"}))
    verification.check_policy(parsed, opa, allowed=frozenset({"rand.intn"}))
    assert preflight.check(files(**{"b.rego": ROLLS}), opa, allowed=frozenset({"rand.intn"})) == []


def test_all_builtins_that_may_not_be_called_are_named(opa):
    source = b'package app\n\nx := regal.last([1])\n\ny := rand.intn("x", 5)\n\nz := other.thing(input.a)\n'
    found = preflight.check(files(**{"b.rego": source}), opa)
    assert any("3 builtins" in one.message and "other.thing, rand.intn, regal.last" in one.message for one in found)


def test_a_builtin_that_may_not_be_called_is_told_once(opa):
    [fault] = preflight.check(files(**{"b.rego": ROLLS}), opa)
    assert fault.message == "b.rego:3:9: undefined function rand.intn"
    broken = ROLLS + b"\nx := (\n"  # the compiler stops before it
    assert len(preflight.check(files(**{"b.rego": broken}), opa)) == 1


def test_functions_of_the_package_are_no_builtins_and_names_without_a_dot_may_be(opa):
    source = b"package app\n\nlib.f(x) := x\n\nlib.g(x) := x\n\nx := lib.f(lib.g(1))\n"
    assert preflight.check(files(**{"b.rego": source}), opa) == []
    source = b"package app\n\nx := mine(1)\n\ny := mine.other(1)\n"
    found = preflight.check(files(**{"b.rego": source}), opa)
    assert any("2 builtins" in one.message and one.message.endswith("mine, mine.other") for one in found)


def test_what_does_not_parse_is_said_once(opa):
    [fault] = preflight.check(files(**{"b.rego": b"package app\n\nx := (\n"}), opa)
    assert fault.message.startswith("b.rego:")


# ---- the fleet's oldest OPA --------------------------------------------------------------------------------


def test_what_the_oldest_opa_lacks_is_named(opa):
    newer = files(**{"b.rego": b'package app\n\nx := strings.render_template("a{{.b}}", {"b": 1})\n'})
    [fault] = preflight.check(newer, opa, oldest="0.55.0")
    assert "OPA 0.55.0 has no strings.render_template, called in b.rego" in fault.message
    assert "newer OPA" in fault.remedy
    assert preflight.check(newer, opa, oldest=f"v{opa.version}") == []


def test_a_function_of_the_policys_own_is_no_builtin(opa):
    own = files(
        **{
            "lib.rego": b"package app.uri\n\nparse(x) := x\n",
            "b.rego": b"package app\n\nimport data.app.uri\n\nx := uri.parse(input.a)\n",
        }
    )
    assert preflight.check(own, opa, oldest="1.0.0") == []
    builtin = files(**{"b.rego": b"package app\n\nx := uri.parse(input.a)\n"})
    [fault] = preflight.check(builtin, opa, oldest="1.0.0")
    assert "OPA 1.0.0 has no uri.parse" in fault.message


def test_a_language_that_the_oldest_opa_lacks(opa):
    every = files(**{"b.rego": b"package app\n\nx if every y in input.z { y > 1 }\n"})
    [fault] = preflight.check(every, opa, oldest="0.30.0")
    assert fault.message.startswith("OPA 0.30.0 ")
    assert preflight.check(every, opa, oldest="1.0.0") == []


@pytest.mark.parametrize("version", ["99.0.0", "x", "", "1.0", "../../etc", "1.0.0\n"])
def test_an_opa_that_nobody_knows(opa, version):
    with pytest.raises(UsageError, match="does not know an OPA"):
        preflight.known_capabilities(opa, version)


def test_faults_are_shown_as_json(opa):
    [fault] = preflight.check(files(**{"patch.json": b"{}"}), opa)
    assert json.loads(json.dumps(fault.as_dict()))["reason"] == "archive.stray"


def test_without_a_module_nothing_is_compiled(opa):
    found = preflight.check({"app.txt": b""}, opa)
    assert [one.reason for one in found] == [Reason.ARCHIVE_STRAY]
