"""Every command shows an example in its help, and prints JSON where it prints a result."""

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
