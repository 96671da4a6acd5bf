"""A build says when the files are not those of the commit that they are said to be of, and can refuse them."""

import json
import shutil
import sys

import pytest

from app.core.shipped import shipped
from cli.main import main
from tests.unit.core.git_kit import git

pytestmark = pytest.mark.stack


@pytest.fixture
def checkout(tmp_path):
    made = tmp_path / "checkout"
    shutil.copytree(shipped("bundles") / "payments", made / "payments")
    git(made, "init", "--quiet")
    git(made, "add", "-A")
    git(made, "commit", "--quiet", "-m", "one")
    return made


@pytest.fixture
def build(opa_binary, tmp_path, monkeypatch, capfd):
    """Builds: the exit code, the document, and what is said."""

    def run(directory, *options):
        words = ["bundle", "build", directory, "-o", tmp_path / "out.tar.gz", "--opa", opa_binary, "--output", "json"]
        monkeypatch.setattr(sys, "argv", ["placet", *map(str, [*words, *options])])
        with pytest.raises(SystemExit) as ended:
            main()
        out, errors = capfd.readouterr()
        return ended.value.code or 0, json.loads(out) if out else None, errors

    return run


def test_what_is_committed_is_built_without_a_word(build, checkout):
    code, document, errors = build(checkout / "payments", "--clean")
    assert (code, document["dirty"]) == (0, False)
    assert "warning" not in errors


def test_of_changed_files_it_is_told_in_one_line_and_in_the_document(build, checkout, tmp_path):
    (checkout / "payments" / "new.rego").write_text("package payments.fresh\n\nfound := true\n")
    code, document, errors = build(checkout / "payments")
    assert (code, document["dirty"]) == (0, True)
    commit = git(checkout, "rev-parse", "HEAD")[:12]
    (line,) = [line for line in errors.splitlines() if line.startswith("warning: ")]
    assert f"payments differ from commit {commit}; the provenance will say so (dirty)" in line
    assert json.loads((tmp_path / "out.tar.gz.build.json").read_bytes())["git"]["dirty"] is True


def test_clean_refuses_changed_files_and_writes_nothing(build, checkout, tmp_path):
    (checkout / "payments" / "new.rego").write_text("package payments.fresh\n\nfound := true\n")
    code, document, errors = build(checkout / "payments", "--clean")
    assert (code, document) == (1, None)
    assert errors.count("\n") == 1
    assert "commit or remove what is changed and new, or build without --clean" in errors
    assert not (tmp_path / "out.tar.gz").exists()


def test_clean_refuses_a_part_of_a_commit(build, checkout, tmp_path):
    code, document, errors = build(checkout / "payments", "--clean", "--ignore", "deny*")
    assert (code, document, errors.count("\n")) == (2, None, 1)
    assert "leave out --ignore" in errors
    assert not (tmp_path / "out.tar.gz").exists()


def test_clean_refuses_what_is_of_no_commit(build, checkout):
    shutil.rmtree(checkout / ".git")
    for options in (["--clean"], ["--clean", "--no-git"]):
        code, document, errors = build(checkout / "payments", *options)
        assert (code, document) == (1, None)
        assert "is of no git commit that the build knows; build without --clean" in errors
