import json

import pytest

from app.core import archive
from app.core.bundle import digest_of, parse_bundle
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.roots import MAX_ROOTS, is_reserved
from tests.soon import soon

from .tars import POLICY, bundle, manifest


def refused(raw):
    with soon(), pytest.raises(Denied) as denied:
        parse_bundle(raw)
    assert "\n" not in str(denied.value)
    return denied.value.reason


def packed(**files):
    return archive.write_archive({name.replace("__", "."): content for name, content in files.items()})


# ---- what is accepted --------------------------------------------------------------------------------------


def test_a_bundle():
    raw = bundle({"app/data.json": b'{"limit": 3}', "x/y.rego": POLICY}, roots=["app", "x/y"])
    parsed = parse_bundle(raw)
    assert parsed.digest == digest_of(raw)
    assert (parsed.manifest.roots, parsed.manifest.entrypoint) == (("app", "x/y"), "app/allow")
    assert set(parsed.modules) == {"app.rego", "x/y.rego"}
    assert parsed.data == {"app/data.json": b'{"limit": 3}'}


@pytest.mark.parametrize(
    "members",
    [
        {"rego_version": 1},
        {"revision": ""},
        {"roots": ["app", "application", "app2", "a-b/c_d"]},
        {"roots": ["data", "input", "app"]},
        {"metadata": {"placet": {"entrypoint": "app/b-c/allow"}, "team": {"nested": {"deep": [1, 2.5, None]}}}},
    ],
)
def test_accepted_manifests(members):
    parse_bundle(bundle(**members))


# ---- manifests ---------------------------------------------------------------------------------------------


def test_without_a_manifest():
    assert refused(archive.write_archive({"app.rego": POLICY})) == Reason.MANIFEST_MISSING


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b'{"roots": ["app"], "roots": ["other"]}',
        b'{"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/a", "entrypoint": "app/b"}}}',
        b'\xef\xbb\xbf{"roots": ["app"]}',
        manifest(Roots=["system"]),  # Go's decoder takes a member in any case
        manifest(ROOTS=[""]),
        manifest(wasm=[]),
        manifest(file_rego_versions={"/app.rego": 0}),
        manifest(rego_version=0),
        manifest(rego_version=2),
        manifest(rego_version="1"),
        manifest(revision=1),
        manifest(revision="x" * 257),
        manifest(revision=None),
    ],
)
def test_malformed_manifests(raw):
    assert refused(bundle({".manifest": raw})) == Reason.MANIFEST_MALFORMED


@pytest.mark.parametrize(
    "roots",
    [
        None,
        [],
        {},
        "app",
        [""],
        ["/"],
        ["app/"],
        ["/app"],
        ["app//x"],
        [" app"],
        ["app "],
        ["app\n"],
        ["app", "app"],
        ["app", "app/x"],
        ["app/x/y", "app/x"],
        ["app", None],
        ["app", 1],
        ["app", ["x"]],
        ["app.x"],
        ["app/../x"],
        ["1app"],
        ["app", "\u00e4"],
        ["*"],
        [f"r{n}" for n in range(MAX_ROOTS + 1)],
        ["app"] * 100_000,
    ],
)
def test_bad_roots(roots):
    assert refused(bundle(roots=roots)) == Reason.MANIFEST_ROOTS


def test_roots_left_out():
    assert refused(bundle({".manifest": b'{"revision": "1"}'})) == Reason.MANIFEST_ROOTS


@pytest.mark.parametrize(
    "root",
    ["system", "system/authz", "placet", "placet/policy", "placet_log", "placet_glue", "placet_state", "placets"],
)
def test_reserved_roots(root):
    assert is_reserved(root)
    assert refused(bundle(roots=["app", root])) == Reason.MANIFEST_ROOTS_RESERVED


@pytest.mark.parametrize("root", ["systems", "my/system", "my/placet", "System"])
def test_roots_that_only_look_reserved(root):
    parse_bundle(bundle(roots=["app", root]))


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        [],
        {},
        {"placet": None},
        {"placet": []},
        {"placet": {}},
        {"placet": {"entrypoint": None}},
        {"placet": {"entrypoint": ["app/allow"]}},
        {"placet": {"entrypoint": ""}},
        {"placet": {"entrypoint": "app.allow"}},
        {"placet": {"entrypoint": "/app/allow"}},
        {"placet": {"entrypoint": "app/allow\n"}},
        {"placet": {"entrypoint": 'app/"]; x'}},
        {"placet": {"entrypoint": "other/allow"}},
        {"placet": {"entrypoint": "application"}},
        {"Placet": {"entrypoint": "app/allow"}},
    ],
)
def test_bad_entrypoints(metadata):
    assert refused(bundle(metadata=metadata)) == Reason.MANIFEST_ENTRYPOINT


# ---- files and data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        ".signatures.json",
        "app/.manifest",
        "data.yaml",
        "app/data.yml",
        "app/x.json",
        "policy.wasm",
        "patch.json",
        "x.REGO",
        "app/DATA.json",
        "LICENSE",
        "rego",
    ],
)
def test_anything_else_in_the_bundle(name):
    assert refused(bundle({name: b"{}"})) == Reason.ARCHIVE_STRAY


def test_no_module():
    assert refused(archive.write_archive({".manifest": manifest(), "app/data.json": b"{}"})) == Reason.ARCHIVE_EMPTY


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"1", b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": "\xff"}', b'{"\\ud800": 1, "\\ufffd": 2}']
)
def test_malformed_data(raw):
    assert refused(bundle({"app/data.json": raw})) == Reason.DATA_MALFORMED


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("data.json", {"other": 1}),
        ("data.json", {"app": 1, "system": {"log": {}}}),
        ("data.json", {"placet": {}}),
        ("data.json", {"app/x": 1}),
        ("data.json", {"": {"app": 1}}),
        ("data.json", {"application": {}}),
        ("other/data.json", {}),
        ("placet/library/data.json", {}),
        ("system/data.json", {"authz": {"allow": True}}),
        ("ap/data.json", {"p": 1}),
        ("data/app/data.json", {"x": 1}),
    ],
)
def test_data_outside_the_roots(path, document):
    assert refused(bundle({path: json.dumps(document).encode()})) == Reason.DATA_OUTSIDE_ROOTS


def test_data_above_a_root_must_lead_to_it():
    assert refused(bundle({"data.json": b'{"app": 3}'}, roots=["app/x"], metadata=_entry("app/x"))) == (
        Reason.DATA_OUTSIDE_ROOTS
    )
    parse_bundle(bundle({"data.json": b'{"app": {"x": 3}}'}, roots=["app/x"], metadata=_entry("app/x")))
    parse_bundle(bundle({"data.json": b'{"app": {}}'}, roots=["app/x"], metadata=_entry("app/x")))


def test_two_documents_with_one_value():
    clash = {"data.json": b'{"app": {"x": {"y": 1}}}', "app/x/data.json": b'{"y": 1}'}
    assert refused(bundle(clash)) == Reason.DATA_MALFORMED
    parse_bundle(bundle({**clash, "app/x/data.json": b'{"z": 1}'}))


def test_a_value_where_another_document_has_an_object():
    assert refused(bundle({"data.json": b'{"app": 1}', "app/data.json": b"{}"})) == Reason.DATA_MALFORMED


def _entry(path):
    return {"placet": {"entrypoint": path}}
