"""What provenance says about where a bundle came from: git, OPA, the run."""

import json

import pytest

from app.core import building, bundle_source, proof_release
from app.core.bundle import digest_of
from app.core.ci_run import Run
from app.core.opa import Opa

from .git_kit import git
from .tars import POLICY

MANIFEST = b'{"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/allow"}}}'


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / ".manifest").write_bytes(MANIFEST)
    (tmp_path / "app.rego").write_bytes(POLICY)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", "https://user:secret@git.example.org/policy.git")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "policy")
    return tmp_path


def predicate(source, opa, run=None):
    built = building.build(source, opa)
    return json.loads(building.release_statements(built.bundle, built.notes, "x.tar.gz", run=run).provenance)[
        "predicate"
    ]


def test_a_commit_is_a_material_by_its_id_and_says_whether_it_was_changed(checkout, opa):
    commit = git(checkout, "rev-parse", "HEAD")
    for dirty in (False, True):
        found = predicate(checkout, opa)["buildDefinition"]
        [source] = [one for one in found["resolvedDependencies"] if "gitCommit" in one["digest"]]
        assert source["digest"] == {"gitCommit": commit}
        assert source["annotations"]["dirty"] is dirty
        assert "git.example.org/policy" in source["uri"]
        assert "secret" not in json.dumps(found)
        files = {one["name"]: one["digest"] for one in found["resolvedDependencies"] if "sha256" in one["digest"]}
        assert files["app.rego"] == {"sha256": digest_of((checkout / "app.rego").read_bytes()).removeprefix("sha256:")}
        (checkout / "app.rego").write_bytes(POLICY + b"\nallow if input.good\n")


def test_a_commit_into_which_something_else_was_merged_is_not_what_was_built(checkout, opa, tmp_path_factory):
    fetched = bundle_source.read(f"git+file://{checkout}@{git(checkout, 'rev-parse', 'HEAD')}")
    beside = tmp_path_factory.mktemp("beside")
    (beside / ".manifest").write_text('{"roots": ["extra"]}')
    (beside / "extra.rego").write_text("package extra\n\nallow := true\n")
    [alone] = proof_release.commits(predicate([fetched], opa))
    [merged] = proof_release.commits(predicate([fetched, bundle_source.read(str(beside))], opa))
    assert (alone.hash, alone.changed) == (merged.hash, False)
    assert merged.changed

    # A changed checkout of the same commit is something else, too.
    (checkout / "more.rego").write_text("package app\n\nmore := true\n")
    changed = bundle_source.read(str(checkout))
    assert any(one.changed for one in proof_release.commits(predicate([fetched, changed], opa)))


def test_opa_and_the_run_are_named(checkout, opa):
    details = predicate(checkout, opa, Run("https://ci.example.org/r/1", "https://ci.example.org/j/2"))["runDetails"]
    assert details["builder"]["id"] == "https://ci.example.org/r/1"
    [tool] = details["builder"]["builderDependencies"]
    assert (tool["name"], "sha256:" + tool["digest"]["sha256"]) == ("opa", opa.digest)
    assert details["metadata"]["invocationId"] == "https://ci.example.org/j/2"


def test_a_bundle_without_notes_says_that_it_was_built_elsewhere(checkout, opa):
    built = building.build(checkout, opa)
    found = json.loads(building.release_statements(built.bundle, None, "x").provenance)["predicate"]
    assert found["buildDefinition"]["externalParameters"]["manifest"]["built"] == "elsewhere"
    assert found["buildDefinition"]["resolvedDependencies"] == []
