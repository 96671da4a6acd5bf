"""Files that are no text, whichever a command reads: it ends with one line and the right exit code."""

from pathlib import Path

import pytest
from typer._click import Context
from typer.main import get_command
from typer.testing import CliRunner

from app.core.errors import PlacetError
from cli.main import NOUNS, build

from .test_governance_commands import examples

#: Nobody gives these a file of their own making, or they run until they are stopped.
WITHOUT = {"demo", "sigstore", "tools"}
ENDLESS = {("policy", "watch")}
LATIN = b'{"caf\xe9": "\xff"}'
#: What commands look for in a directory.
NAMES = ("a.rego", "data.json", ".manifest", "placet.yaml", "a.json", "settings.json", "root.json", "layout.yaml")


def given(words):
    """The files that a command line names, and the options beside that take one."""
    command, rest = get_command(build(words)), list(words)
    context = Context(command)
    while hasattr(command, "get_command"):
        command = command.get_command(context, rest.pop(0))
        context = Context(command, parent=context)
    parsed = command.make_context("placet", list(rest), resilient_parsing=True).params
    takes = [one for one in command.params if "Path" in str(one.type_descriptor.annotation)]
    values = [parsed[one.name] for one in takes if parsed[one.name]]
    named = {str(path) for value in values for path in (value if isinstance(value, list | tuple) else [value])}
    named |= {word for word in rest if Path(word).suffix and "://" not in word and not word.startswith("-")}
    here = {one for one in named if not Path(one).is_absolute() and one != "."}
    return here, [one.opts[0] for one in takes if one.opts[0][:2] == "--"]


def command_lines(noun):
    for placet, *words in examples(noun):
        if placet != "placet" or tuple(words[:2]) in ENDLESS:
            continue
        files, options = given(words)
        yield words, files
        for option in options:
            if option not in words:
                yield [*words, option, "another"], {*files, "another"}


def spoil(path, directory):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not directory:
        path.write_bytes(LATIN)
        return
    path.mkdir(exist_ok=True)
    for name in NAMES:
        (path / name).write_bytes(LATIN)


@pytest.mark.parametrize("directory", [False, True], ids=["files", "directories"])
@pytest.mark.parametrize("noun", sorted(NOUNS.keys() - WITHOUT))
def test_files_that_are_no_text(noun, directory, tmp_path, monkeypatch):
    monkeypatch.setenv("PLACET_SERVER", "http://127.0.0.1:1")
    monkeypatch.setenv("PLACET_TOKEN", "placet_0123456789ab_secret")
    seen = 0
    for number, (words, files) in enumerate(command_lines(noun)):
        here = tmp_path / str(number)
        here.mkdir()
        monkeypatch.chdir(here)
        for name in files:
            spoil(here / name, directory)
        done = CliRunner().invoke(build(words), words)
        assert done.exit_code != 0 or done.exception is None, words
        if done.exception is not None:
            assert isinstance(done.exception, PlacetError | SystemExit), (words, repr(done.exception))
            assert getattr(done.exception, "exit_code", done.exit_code) in (1, 2, 3), words
            assert "\n" not in str(done.exception), words
        seen += 1
    assert seen or not list(examples(noun))
