"""Every command and every group shows examples in its help, which are right; results can be had as JSON."""

import shlex

import pytest
import typer

from cli.main import NOUNS, build

#: Print nothing, or something that is no result.
WITHOUT_JSON = {"lineage graph", "server run", "sidecar run"}


def commands(command, name):
    """What stands below a noun, by name."""
    below = getattr(command, "commands", None)
    if below is None:
        return [(name, command)]
    return [one for word, inner in below.items() for one in commands(inner, f"{name} {word}")]


def groups(command, name):
    """A noun, and the groups below it."""
    below = getattr(command, "commands", None)
    if below is None:
        return []
    return [(name, command), *(one for word, inner in below.items() for one in groups(inner, f"{name} {word}"))]


def examples(epilog):
    """The commands of an epilog, as words, without notes. What a shell would do with their output is left away."""
    for text in epilog.partition(": ")[2].split("  ·  "):
        if text.startswith("placet "):
            words = shlex.split(text)
            yield words[1 : words.index(">")] if ">" in words else words[1:]


@pytest.mark.parametrize("noun", NOUNS)
def test_every_command_has_an_example_and_json(noun):
    root = typer.main.get_command(build([noun]))
    found = commands(root.commands[noun], noun)
    assert found
    for name, command in found:
        assert command.epilog, name
        assert command.epilog.startswith("Example"), name
        assert f"placet {name}" in command.epilog, name
        assert command.help, name
        assert ("output" in {one.name for one in command.params}) is (name not in WITHOUT_JSON), name


@pytest.mark.parametrize("noun", NOUNS)
def test_every_group_has_an_example_of_its_own_commands(noun):
    root = typer.main.get_command(build([noun]))
    for name, group in groups(root.commands[noun], noun):
        assert (group.epilog or "").startswith("Example"), name
        found = [" ".join(words) for words in examples(group.epilog)]
        assert found, name
        assert all(one.startswith(f"{name} ") for one in found), name


@pytest.mark.parametrize("noun", NOUNS)
def test_the_parser_takes_every_example(noun):
    root = typer.main.get_command(build([noun]))
    below = root.commands[noun]
    taken = []
    for name, command in commands(below, noun):
        command.callback = lambda _name=name, **_: taken.append(_name)
    for _, command in [*groups(below, noun), *commands(below, noun)]:
        for words in examples(command.epilog):
            taken.clear()
            root.main(words, standalone_mode=False)
            assert len(taken) == 1, words
            assert " ".join(words).startswith(taken[0]), words
