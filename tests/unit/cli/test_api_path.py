"""A name from the command line is one segment of an address, so that it never names something else."""

import ast
from pathlib import Path

import pytest

from app.core.errors import UsageError
from cli.api_path import api, below, system_path

CLI = Path(__file__).resolve().parents[3] / "cli"


def test_a_name_is_one_segment():
    assert api("decisions", "d1?x=1#y", "proof") == "/api/v1/decisions/d1%3Fx%3D1%23y/proof"
    assert system_path("payments", "modes", 7) == "/api/v1/systems/payments/modes/7"
    assert below("/v1/executions", "ä b") == "/v1/executions/%C3%A4%20b"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/"])
def test_what_would_name_another_place_is_refused(name):
    with pytest.raises(UsageError, match="is no name"):
        system_path("payments", "modes", name)


@pytest.mark.parametrize("names", [("searches", "bad/name"), ("decisions", "a/../b", "proof"), ("systems", "a/b")])
def test_the_control_plane_has_no_name_with_a_slash(names):
    with pytest.raises(UsageError, match="is no name: it has a slash"):
        api(*names)


def test_a_name_that_is_no_text_is_refused():
    with pytest.raises(UsageError, match="is no UTF-8"):
        api("decisions", "a\udcff")


def test_no_command_puts_names_into_addresses_itself():
    wrong = []
    for file in sorted(CLI.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
                if text.startswith(("/api/", "/v1/")) and "?" not in text:
                    wrong.append(f"{file.name}:{node.lineno}: {text}")
    assert wrong == []
