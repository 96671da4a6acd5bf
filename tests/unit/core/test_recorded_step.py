import os
import re

import pytest

from app.core import recorded_step, statements
from app.core.bundle import digest_of
from app.core.errors import PlacetError, UsageError


@pytest.fixture
def here(tmp_path):
    for name in ("policy/a.rego", "policy/deep/b.rego", "policy/deep/data.json", ".git/config", "out.tar.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(directory, *patterns):
    return [one["name"] for one in recorded_step.artifacts(directory, patterns)]


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["out.tar.gz"], ["out.tar.gz"]),
        (["policy"], ["policy/a.rego", "policy/deep/b.rego", "policy/deep/data.json"]),
        (["policy/*.rego"], ["policy/a.rego"]),
        (["policy/**/*.rego"], ["policy/a.rego", "policy/deep/b.rego"]),
        (["policy/a.rego", "policy"], ["policy/a.rego", "policy/deep/b.rego", "policy/deep/data.json"]),
        (["**/*"], ["out.tar.gz", "policy/a.rego", "policy/deep/b.rego", "policy/deep/data.json"]),
    ],
)
def test_patterns(here, patterns, found):
    assert names(here, *patterns) == found


def test_each_has_its_digest(here):
    assert recorded_step.artifacts(here, ["out.tar.gz"]) == [
        statements.resource("out.tar.gz", digest_of(b"out.tar.gz"))
    ]


@pytest.mark.parametrize(
    "pattern", ["", "/etc/passwd", "../x", "policy/../../x", "none*", "policy/none", ".git", "a\0b"]
)
def test_what_names_nothing_that_may_be_recorded(here, pattern):
    with pytest.raises(UsageError, match=re.escape(repr(pattern))):
        names(here, pattern)


def test_neither_links_nor_other_things_are_files(here):
    (here / "link").symlink_to("out.tar.gz")
    os.mkfifo(here / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(UsageError, match="not a regular file"):
            names(here, name)


@pytest.mark.parametrize("pattern", ["link/deep/b.rego", "link/*.rego", "*/a.rego", "down/up/deep/data.json"])
def test_nothing_that_lies_behind_a_link_is_taken_for_a_file_of_this_directory(here, pattern):
    (here / "link").symlink_to(here.parent / here.name / "policy")
    (here / "down").mkdir()
    (here / "down/up").symlink_to("../policy")
    with pytest.raises(UsageError, match="lies behind the link"):
        names(here, pattern)


@pytest.mark.parametrize("name", [b"a\nb", b"a\x1bb", b"\xff"])
def test_names_that_a_link_cannot_hold(here, name):
    (here / os.fsdecode(name)).touch()
    with pytest.raises(UsageError, match="rename it") as error:
        names(here, "*")
    assert str(error.value).isprintable()


def test_more_than_a_link_may_hold(here, monkeypatch):
    monkeypatch.setattr(recorded_step, "MAX_ARTIFACTS", 2)
    with pytest.raises(UsageError, match="at most 2 files"):
        names(here, "policy")


def test_lists_of_patterns(here):
    (here / "list").write_text("policy/a.rego\n\nout.tar.gz\n")
    assert recorded_step.patterns(["x"], [here / "list"]) == ["x", "policy/a.rego", "out.tar.gz"]


@pytest.mark.parametrize(
    ("command", "kind", "said"),
    [
        (["sh", "-c", "exit 3"], PlacetError, "exit code 3"),
        (["sh", "-c", "kill -9 $$"], PlacetError, "signal 9"),
        (["no-such-command"], UsageError, "cannot run no-such-command"),
    ],
)
def test_commands_that_fail(command, kind, said):
    with pytest.raises(kind, match=said):
        recorded_step.run(command)


@pytest.mark.parametrize(
    ("command", "products", "said"),
    [
        (["x" * 5000], ["a"], "cannot be recorded"),
        (["x"] * 2000, ["a"], "cannot be recorded"),
        (["true"], [f"{'long' * 200}{number}" for number in range(900)], "too many files"),
    ],
)
def test_a_link_that_nobody_would_accept(command, products, said):
    made = [statements.resource(name, "a" * 64) for name in products]
    with pytest.raises(UsageError, match=said):
        recorded_step.link("test", command, [], made)


def test_a_step_without_products_says_nothing():
    with pytest.raises(UsageError, match="no products"):
        recorded_step.link("test", ["true"], [], [])
