"""The parser takes every command that README and docs show."""

import itertools
import re
import shlex
from pathlib import Path

import pytest
import typer

from cli.main import NOUNS, build

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: What ends a command in a shell.
ENDS = re.compile(r"[|><&;()]+")


def shown(page):
    """The commands of placet in a page's shell blocks, as words; not those that leave something out (…)."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("placet ") and "…" not in (words := words_of(line)):
                yield list(itertools.takewhile(lambda word: not ENDS.fullmatch(word), words[1:]))


def words_of(line):
    lexer = shlex.shlex(re.sub(r"\s#.*", "", line), posix=True, punctuation_chars=True)  # a # in a word is no comment
    lexer.whitespace_split, lexer.commenters = True, ""
    return list(lexer)


def stub(command, taken):
    """Lets what stands below a noun say only that it was called."""
    for inner in getattr(command, "commands", {}).values():
        stub(inner, taken)
    if not hasattr(command, "commands"):
        command.callback = lambda **_: taken.append(True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_parser_takes_what_a_page_shows(page):
    for words in shown(page):
        assert words[0] in NOUNS, words
        root = typer.main.get_command(build(words))
        taken = []
        stub(root.commands[words[0]], taken)
        root.main(words, standalone_mode=False)
        assert len(taken) == 1, words
