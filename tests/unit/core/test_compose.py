import io
import json
import subprocess
import tarfile

import pytest

from app.core.bundle import parse_bundle
from app.core.compose import Library, compose, revision
from app.core.errors import Denied
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.verification import check_policy

from .tars import POLICY, bundle

LIBRARY = Library.shipped()


@pytest.fixture
def evaluate(opa_binary, tmp_path):
    """Evaluate a query over the composed bundle, as OPA itself loads it."""

    def evaluated(policy, query, request=None):
        (tmp_path / "bundle.tar.gz").write_bytes(compose(policy, LIBRARY).raw)
        command = [opa_binary, "eval", "--bundle", tmp_path / "bundle.tar.gz", "--format=json", "--stdin-input", query]
        answer = subprocess.run(
            command, input=json.dumps(request or {}).encode(), capture_output=True, check=False, env={}, timeout=30
        )
        assert answer.returncode == 0, answer.stdout
        return json.loads(answer.stdout)["result"][0]["expressions"][0]["value"]

    return evaluated


def unpack(raw):
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        members = [(one.name, tar.extractfile(one).read()) for one in tar.getmembers()]
    assert len(dict(members)) == len(members)
    return dict(members)


def test_the_same_parts_give_the_same_bytes():
    policy = parse_bundle(bundle({"z/data.json": b"{}", "z/b.rego": POLICY}, roots=["z", "app"]))
    once = compose(policy, LIBRARY)
    again = compose(
        parse_bundle(bundle({"z/b.rego": POLICY, "z/data.json": b"{}"}, roots=["z", "app"])), Library.shipped()
    )
    assert once == again
    assert once.raw[4:8] == bytes(4)  # gzip's time


def test_the_revision_names_the_parts():
    policy = parse_bundle(bundle())
    composed = compose(policy, LIBRARY)
    assert composed.revision == revision(policy.digest, LIBRARY.digest)
    assert policy.digest in composed.revision
    assert LIBRARY.digest in composed.revision
    manifest = json.loads(unpack(composed.raw)[".manifest"])
    assert manifest == {
        "revision": composed.revision,
        "roots": ["app", "placet", "placet_glue", "placet_log"],
        "rego_version": 1,
    }


def test_another_policy_has_another_revision():
    one, other = (compose(parse_bundle(bundle({"app.rego": source})), LIBRARY) for source in (POLICY, POLICY + b"\n"))
    assert one.revision != other.revision


def test_the_library_is_whole_and_without_its_tests():
    files = unpack(compose(parse_bundle(bundle()), LIBRARY).raw)
    shipped = {name for name in files if name.startswith("placet/library/")}
    assert shipped == {f"placet/library/{name}" for name in LIBRARY.modules}
    assert "placet/library/decision.rego" in shipped
    assert not any(name.endswith("_test.rego") for name in files)


SHADOWS = [
    "placet/library/decision.rego",
    "placet/glue.rego",
    "policy/placet/glue.rego",
    "policy/app.rego",
    "glue.rego",
    "library/decision.rego",
    "system/authz.rego",
    ".manifest.rego",
]


@pytest.mark.parametrize("name", SHADOWS)
def test_no_file_of_a_policy_takes_the_place_of_ours(name):
    plain = unpack(compose(parse_bundle(bundle()), LIBRARY).raw)
    files = unpack(compose(parse_bundle(bundle({name: POLICY})), LIBRARY).raw)
    assert files.pop(f"policy/{name}") == POLICY
    ours = {path: content for path, content in plain.items() if path.startswith("placet/library/")}
    assert {path: content for path, content in files.items() if path.startswith("placet/library/")} == ours
    assert set(files) == set(plain)


@pytest.mark.parametrize(
    "package",
    [
        "placet",
        "placet.policy",
        "placet_glue",
        "placet_log",
        "placet_state",
        "placetary",
        "system.authz",
        "system.log",
        "system",
        'data["placet"]',
        "app2",
        "ap",
        'app_["x"]',
        "other",
        'system["log"]',
        'placet["policy"]',
        "data.placet",
    ],
)
def test_no_package_of_a_policy_is_one_of_ours(opa_binary, package):
    source = f"package {package}\n\nmask := []\n".encode()
    with pytest.raises(Denied) as denied:
        check_policy(parse_bundle(bundle({"x.rego": source})), Opa(opa_binary))
    assert denied.value.reason == Reason.REGO_OUTSIDE_ROOTS


@pytest.mark.parametrize("rule", ["placet.allow := true", "system.log := 1", 'x["../placet"] := 1'])
def test_no_rule_of_a_policy_leaves_its_package(opa_binary, evaluate, rule):
    policy = parse_bundle(bundle({"x.rego": f"package app\n\n{rule}\n".encode()}))
    check_policy(policy, Opa(opa_binary))
    assert evaluate(policy, "data.placet.decision.allow") is False
    assert evaluate(policy, "object.keys(data.app)")


@pytest.mark.parametrize(
    ("package", "entrypoint"),
    [
        ("app", "app/allow"),
        ('app["b-c"]', "app/b-c/allow"),
        ('app["not"]["if"]', "app/not/if/allow"),
        ('app["b-c"].d', "app/b-c/d/allow"),
    ],
)
def test_the_glue_names_the_entrypoint(opa_binary, evaluate, package, entrypoint):
    policy = parse_bundle(
        bundle(
            {"app.rego": f"package {package}\n\nallow := input.n\n".encode()},
            metadata={"placet": {"entrypoint": entrypoint}},
        )
    )
    check_policy(policy, Opa(opa_binary))
    assert evaluate(policy, "data.placet_glue.value", {"n": 7}) == 7
    assert evaluate(policy, "data.placet_glue.bundles") == {
        "policy": policy.digest,
        "library": LIBRARY.digest,
    }


def test_an_undefined_entrypoint_is_null_and_not_an_error(evaluate):
    policy = parse_bundle(bundle({"app.rego": b"package app\n\nallow if input.nothing\n"}))
    assert evaluate(policy, "[v | v := data.placet_glue.value]") in ([], [None])
    assert evaluate(policy, "data.placet.decision.allow") is False


def test_data_stays_where_the_policy_put_it(evaluate):
    policy = parse_bundle(
        bundle({"data.json": b'{"app": {"a": 1}}', "app/x/data.json": b'{"b": 12345678901234567890}'})
    )
    assert evaluate(policy, "[data.app.a, data.app.x.b]") == [1, 12345678901234567890]


@pytest.mark.parametrize("entrypoint", ["app/missing", "app/allow/deeper", "app"])
def test_an_entrypoint_without_a_rule(opa_binary, entrypoint):
    policy = parse_bundle(
        bundle({"app.rego": b"package app.x\n\nallow := 1\n"}, metadata={"placet": {"entrypoint": entrypoint}})
    )
    if entrypoint == "app":  # a whole package is an object, which the library then judges
        check_policy(policy, Opa(opa_binary))
        return
    with pytest.raises(Denied) as denied:
        check_policy(policy, Opa(opa_binary))
    assert denied.value.reason == Reason.MANIFEST_ENTRYPOINT
