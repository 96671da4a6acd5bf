"""Wrong usage is one line that names the command's help, and exit code 2; a person's no is 1."""

import os
import pty
import sys

import pytest
import typer

from app.core.errors import PlacetError, UsageError
from cli.asking import confirm
from cli.main import NOUNS, build, main


@pytest.fixture
def placet(monkeypatch, capsys):
    """Runs `placet`: the exit code, and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["placet", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr().err

    return run


def paths(command, path):
    yield path, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, [*path, word])


@pytest.mark.parametrize("noun", NOUNS)
def test_what_the_parser_refuses_is_one_line_everywhere(noun, placet):
    tree = typer.main.get_command(build([noun])).commands[noun]
    for path, command in paths(tree, [noun]):
        hint = f"(see: placet {' '.join(path)} --help)\n"
        options = [one for one in command.params if one.param_type_name == "option" and not one.is_flag]
        wrong = {f"option '{one.opts[0]}' requires ": [one.opts[0]] for one in options[:1]}
        if any(one.required for one in command.params):
            wrong["missing "] = []
        if not command.context_settings.get("ignore_unknown_options"):  # else it is an id that begins with a dash
            wrong["no such option: --nosuch"] = ["--nosuch"]
        for said, words in wrong.items():
            code, errors = placet(*path, *words)
            assert code == 2, (path, errors)
            assert errors.startswith(f"placet: {said}"), (path, errors)
            assert errors.endswith(hint), (path, errors)
            assert errors.count("\n") == 1, (path, errors)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "placet: no such command 'nosuch' (see: placet --help)\n"),
        (["warrant", "key", "nosuch"], "placet: no such command 'nosuch' (see: placet warrant key --help)\n"),
        (
            ["decision", "list", "--output", "xml"],
            "placet: invalid value for '--output': 'xml' is not one of 'table', 'json' "
            "(see: placet decision list --help)\n",
        ),
        (
            ["execution", "end", "x", "--token", "t"],
            "placet: missing option '--outcome'. Choose from: completed, failed (see: placet execution end --help)\n",
        ),
    ],
)
def test_the_line_says_what_is_wrong_and_where_help_is(placet, words, said):
    assert placet(*words) == (2, said)


def test_a_noun_alone_shows_its_help(placet):
    code, errors = placet("bundle")
    assert code == 2
    assert errors.startswith("Usage: placet bundle")
    assert "Commands:" in errors


def test_help_and_version_end_well(placet):
    assert placet("bundle", "sign", "--help") == (0, "")
    assert placet("--version") == (0, "")


@pytest.fixture
def answering(monkeypatch):
    """Lets a person answer, who types this."""
    opened = []

    def answer(text):
        outer, inner = pty.openpty()
        opened.append(outer)
        os.write(outer, text)
        monkeypatch.setattr(sys, "stdin", os.fdopen(inner))

    yield answer
    for one in opened:
        os.close(one)


def test_a_yes_goes_on(answering):
    answering(b"y\n")
    confirm("Go on?", yes=False, look="it")


@pytest.mark.parametrize("typed", [b"n\n", b"\n", b"\x04"], ids=["no", "nothing", "the end"])
def test_all_else_than_a_yes_fails_with_exit_code_1(answering, typed):
    answering(typed)
    with pytest.raises(PlacetError, match="nobody said yes; nothing was done") as refused:
        confirm("Go on?", yes=False, look="it")
    assert refused.value.exit_code == 1


def test_where_nobody_can_be_asked_the_option_is_named(monkeypatch, tmp_path):
    with (tmp_path / "empty").open("w+") as file:
        monkeypatch.setattr(sys, "stdin", file)
        confirm("Go on?", yes=True, look="it")
        with pytest.raises(UsageError, match="look at it, then give --yes"):
            confirm("Go on?", yes=False, look="it")
