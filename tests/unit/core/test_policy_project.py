"""What an author's directory holds: settings with their place when they are wrong, and new policies from templates."""

import contextlib
import json
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import bundle_source
from app.core.errors import Denied, UsageError
from app.core.policy_project import load
from app.core.policy_template import Template, create
from app.core.reason_codes import Reason

MODULE = "package app.authz\n\nallow := true\n"


@pytest.fixture
def policy(tmp_path):
    (tmp_path / "authz.rego").write_text(MODULE)
    return tmp_path


def test_settings_say_what_the_manifest_does_not(policy):
    (policy / "placet.yaml").write_text("entrypoint: app/authz/allow\nthreshold: 90\nroots: [app]\n")
    project = load(policy)
    assert (project.entrypoint, project.settings.threshold, project.settings.roots) == ("app/authz/allow", 90, ["app"])
    (policy / "placet.yaml").unlink()
    assert load(policy).entrypoint is None
    (policy / ".manifest").write_text('{"metadata": {"placet": {"entrypoint": "app/authz/allow"}}}')
    assert load(policy).entrypoint == "app/authz/allow"


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("threshold: 90\nthreshhold: 1\n", "2:1", "threshhold"),
        ("roots:\n  - app\n  - a b\n", "3:5", "roots.1"),
        ("threshold: 101\n", "1:1", "less than or equal to 100"),
        ("threshold: .nan\n", "1:1", "threshold"),
        ("threshold: 1\nthreshold: 2\n", "1:1", "stands twice"),
        ("entrypoint: [\n", "2:1", "not YAML"),
        ("- a\n", "1:1", "dictionary"),
        ("roots: []\n", "1:1", "at least 1"),
    ],
)
def test_wrong_settings_are_named_by_line_and_column(policy, text, place, what):
    (policy / "placet.yaml").write_text(text)
    with pytest.raises(UsageError) as refused:
        load(policy)
    assert f"placet.yaml:{place}: " in str(refused.value)
    assert what in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=300)
def test_any_bytes_as_settings_are_read_or_refused(tmp_path_factory, raw):
    directory = tmp_path_factory.mktemp("settings")
    (directory / "authz.rego").write_text(MODULE)
    (directory / "placet.yaml").write_bytes(raw)
    with contextlib.suppress(UsageError):
        load(directory)


def test_only_what_opa_loads_is_part_of_a_policy(policy):
    for name in ("authz_test.rego", "data.json", "other.json", "._authz.rego", "README.md"):
        (policy / name).write_text("{}" if name.endswith("json") else "package x\n")
    (policy / ".git").mkdir()
    (policy / ".git" / "x.rego").write_text("package x\n")
    project = load(policy)
    assert set(project.modules) == {"authz.rego"}
    assert set(project.tests) == {"authz_test.rego"}
    assert set(project.data) == {"data.json"}


def test_a_link_is_not_followed(policy, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.rego"
    outside.write_text(MODULE)
    (policy / "link.rego").symlink_to(outside)
    with pytest.raises(Denied, match=r"link\.rego is a link; put the file itself there") as denied:
        load(policy)
    assert denied.value.reason == Reason.ARCHIVE_LINK


def test_a_linked_directory_is_refused_in_the_words_of_a_build(tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "authz.rego").write_text(MODULE)
    (tmp_path / "app").symlink_to(outside)
    said = []
    for reads in (load, lambda directory: bundle_source.read(str(directory), git=False)):
        with pytest.raises(Denied) as denied:
            reads(tmp_path)
        said.append(str(denied.value))
    assert said == [f"archive.link: {tmp_path}/app is a link; put the file itself there, or its directory"] * 2


@pytest.mark.parametrize("name", ["data.yaml", "data.yml"])
def test_data_is_read_as_a_build_reads_it(policy, name):
    (policy / "app").mkdir()
    (policy / "app" / name).write_text("# limits\nlimits: {EUR: 500, list: [1, 2.5]}\n")
    project = load(policy)
    assert project.data == {"app/data.json": b'{"limits": {"EUR": 500, "list": [1, 2.5]}}'}
    assert project.data["app/data.json"] == bundle_source.read(str(policy), git=False).files["app/data.json"]
    assert project.location("app/data.json") == str(policy / "app" / name)
    (policy / "app" / "data.json").write_text("{}")
    with pytest.raises(Denied, match=rf"app/{name} and app/data\.json both give data; keep one"):
        load(policy)


@pytest.mark.parametrize(
    ("text", "place"),
    [("a: 1\na: 2\n", "line 1 column 1"), ("a: [\n", "line 2 column 1"), ("d: 2026-01-01\n", "in quotes")],
)
def test_data_that_is_none_is_named_with_its_place(policy, text, place):
    (policy / "data.yaml").write_text(text)
    with pytest.raises(Denied, match=f"data.yaml is no data: .*{place}") as denied:
        load(policy)
    assert denied.value.reason == Reason.DATA_MALFORMED
    assert "\n" not in denied.value.detail


def test_a_schema_lies_inside(policy):
    (policy.parent / "outside.json").write_text("{}")
    for named, why in (("../outside.json", "outside"), ("nothing.json", "no JSON schema")):
        (policy / "placet.yaml").write_text(f"schema: {named}\n")
        with pytest.raises(UsageError, match=why):
            load(policy)
    (policy / "bad.json").write_text('{"a": 1, "a": 2}')
    (policy / "placet.yaml").write_text("schema: bad.json\n")
    with pytest.raises(UsageError, match=r"bad\.json: the member 'a' stands twice"):
        load(policy)
    (policy / "placet.yaml").write_text("schema: good.json\n")
    (policy / "good.json").write_text('{"$ref": "#/definitions/x", "definitions": {"x": {}}}')
    load(policy)
    for elsewhere in ("file:///etc/passwd", "https://example.org/x.json", "x.json"):
        (policy / "good.json").write_text(json.dumps({"properties": {"a": [{"$ref": elsewhere}]}}))
        with pytest.raises(UsageError, match="OPA would fetch"):
            load(policy)


@pytest.mark.parametrize(
    "name", ["\x1b[31m.rego", "a\nb_test.rego", "a\u202eb_test.rego", os.fsdecode(b"\xff_test.rego")]
)
def test_a_name_that_a_terminal_would_obey(policy, name):
    (policy / name).write_text("package app.authz_test\n\ntodo_test_x if true\n")
    with pytest.raises(UsageError, match="rename the file") as error:
        load(policy)
    assert str(error.value).isprintable()


def test_a_directory_without_policy_says_how_to_get_one(tmp_path):
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="placet policy new"):
            load(directory)


@pytest.mark.parametrize("name", ["", "Order", "a_b", "a--b", "-a", "a/b", "..", "ü", "a" * 61])
def test_names_that_will_not_do(tmp_path, name):
    with pytest.raises(UsageError, match="will not do"):
        create(name, Template.HTTP_API, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["import", "data", "system", "placet", "placet-x", "every"])
def test_names_that_are_taken(tmp_path, name):
    with pytest.raises(UsageError, match="keep for themselves"):
        create(name, Template.HTTP_API, tmp_path)


@pytest.mark.parametrize("there", ["directory", "file", "dangling link"])
def test_nothing_is_overwritten(tmp_path, there):
    target = tmp_path / "order-api"
    if there == "directory":
        target.mkdir()
    elif there == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="nothing is overwritten"):
        create("order-api", Template.HTTP_API, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["order-api"]
    assert there != "file" or target.read_text() == "mine"


def test_a_new_policy_is_readable_and_names_nothing_of_its_template(tmp_path):
    for template in Template:
        made = create(f"my-{template.value}-x", template, tmp_path)
        assert made.stat().st_mode & stat.S_IRGRP
        old = template.value.replace("-", "_")
        for path in made.rglob("*"):
            text = path.read_text() if path.is_file() else ""
            assert f"data.{old}." not in text
            assert f"package {old}." not in text
            assert path.name != old
    assert len(list(tmp_path.iterdir())) == len(Template)
