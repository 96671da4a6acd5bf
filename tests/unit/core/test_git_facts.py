"""What git knows about a directory: nothing of the directory's runs, and nothing in it hides a change."""

import os

import pytest

from app.core import git_facts
from app.core.git_facts import GitFacts, shared

from .git_kit import git


@pytest.fixture
def repository(tmp_path):
    made = tmp_path / "repository"
    (made / "policy" / "lib").mkdir(parents=True)
    (made / "policy" / "app.rego").write_text("package app\n\nallow := true\n")
    (made / "policy" / "lib" / "lib.rego").write_text("package lib\n")
    (made / "policy" / "run.sh").write_text("true\n")
    (made / "policy" / "run.sh").chmod(0o755)
    (made / "policy" / "latest").symlink_to("app.rego")
    git(made, "init", "--quiet")
    git(made, "add", "-A")
    git(made, "commit", "--quiet", "-m", "one")
    return made


def dirty(directory):
    found = git_facts.facts(directory)
    assert found is not None
    return found.dirty


def test_what_is_as_it_was_committed_is_clean(repository):
    os.utime(repository / "policy" / "app.rego", (1, 1))
    assert not dirty(repository)
    assert not dirty(repository / "policy")
    assert git_facts.facts(repository).commit == git(repository, "rev-parse", "HEAD")


def test_names_of_blobs_are_sha256_where_the_repository_says_so(tmp_path):
    git(tmp_path, "init", "--quiet", "--object-format=sha256")
    (tmp_path / "a.rego").write_text("package a\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    assert not dirty(tmp_path)
    (tmp_path / "a.rego").write_text("package b\n")
    assert dirty(tmp_path)


CHANGES = {
    "changed": lambda at: (at / "app.rego").write_text("package app\n\nallow := 1234\n"),
    "deleted": lambda at: (at / "lib" / "lib.rego").unlink(),
    "new": lambda at: (at / "notes.txt").write_text(""),
    "staged": lambda at: (
        (at / "b.rego").write_text("package b\n"),
        git(at, "add", "b.rego"),
        (at / "b.rego").unlink(),
    ),
    "a link elsewhere": lambda at: ((at / "latest").unlink(), (at / "latest").symlink_to("run.sh")),
    "a link in a file's place": lambda at: ((at / "app.rego").unlink(), (at / "app.rego").symlink_to("run.sh")),
    "a file in a link's place": lambda at: ((at / "latest").unlink(), (at / "latest").write_text("app.rego")),
    "ignored, and built": lambda at: (
        (at.parent / ".git" / "info" / "exclude").write_text("extra.rego\n"),
        (at / "extra.rego").write_text("package app\n"),
    ),
    "said to be unchanged": lambda at: (
        git(at, "update-index", "--assume-unchanged", "app.rego"),
        (at / "app.rego").write_text("package app\n\nallow := 1\n"),
    ),
    "said to be left out": lambda at: (
        git(at, "update-index", "--skip-worktree", "app.rego"),
        (at / "app.rego").write_text("package app\n\nallow := 1\n"),
    ),
    "a commit in the place of another": lambda at: (
        (at / "app.rego").write_text("package app\n\nallow := 1\n"),
        git(at, "add", "app.rego"),
        git(at, "replace", git(at, "rev-parse", "HEAD^{tree}"), git(at, "write-tree")),
    ),
    "a repository of its own": lambda at: (
        (at.parent / ".git" / "info" / "exclude").write_text("vendor\n"),
        git(at, "init", "--quiet", "vendor"),
        (at / "vendor" / "v.rego").write_text("package v\n"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_differs_is_told(repository, change):
    CHANGES[change](repository / "policy")
    assert dirty(repository / "policy")


def test_what_git_ignores_and_no_build_reads_changes_nothing(repository):
    (repository / ".git" / "info" / "exclude").write_text(".venv\n*.tar.gz\n")
    (repository / "policy" / ".venv").mkdir()
    (repository / "policy" / ".venv" / "x.rego").write_text("package x\n")
    (repository / "policy" / "app.tar.gz").write_text("")
    assert not dirty(repository / "policy")


def test_a_submodule_is_clean_at_its_commit(tmp_path, repository):
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "--quiet")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "inner")
    git(outer, "commit", "--quiet", "-m", "one")
    assert not dirty(outer)
    (outer / "inner" / "policy" / "app.rego").write_text("package other\n")
    assert dirty(outer)


def test_nothing_of_the_directory_runs(repository, tmp_path):
    """A directory that somebody unpacked names its own filters, hooks, and a repository inside of it."""
    ran = tmp_path / "ran"
    command = f"sh -c 'touch {ran}; cat'"
    for name in ("filter.evil.clean", "filter.evil.process", "core.fsmonitor", "diff.external", "core.pager"):
        git(repository, "config", name, command)
    (repository / ".gitattributes").write_text("* filter=evil diff=evil\n")
    os.utime(repository / "policy" / "app.rego", (1, 1))
    assert dirty(repository)  # by .gitattributes, which is new
    bare = tmp_path / "bare"
    git(repository, "clone", "--quiet", "--bare", ".", str(bare))
    for name, value in {"core.bare": "false", "core.worktree": str(repository), "filter.evil.clean": command}.items():
        git(tmp_path, "--git-dir", str(bare), "config", name, value)
    ran.unlink(missing_ok=True)
    assert git_facts.facts(bare) is None
    git_facts.facts(repository)
    assert not ran.exists()


def test_a_directory_that_is_too_large_to_compare_counts_as_changed(repository, monkeypatch):
    monkeypatch.setattr(git_facts, "_MAX_COMPARED", 3)
    assert dirty(repository)


def test_inputs_of_one_commit_have_facts_in_common():
    clean, dirty = (GitFacts("c1", "https://h/p", one) for one in (False, True))
    assert shared([clean]) == clean
    assert shared([clean, dirty]) == dirty
    for other in (None, GitFacts("c2", "https://h/p", False), GitFacts("c1", "https://h/q", False)):
        assert shared([clean, other]) is None
    assert shared([]) is None
