"""Ids that begin with a hyphen are ids: thumbprints do, and those that others chose."""

import pytest
from typer.testing import CliRunner

from cli.main import build

NOBODY = ("--server", "http://127.0.0.1:9")

COMMANDS = [
    ("mode", "end", "payments", "-Xy9"),
    ("environment", "revoke", "-Xy9", "--system", "payments"),
    ("warrant", "fetch", "-Xy9", "--system", "payments"),
    ("warrant", "revoke", "-Xy9", "--system", "payments", "--reason", "x"),
    ("warrant", "key", "withdraw", "-Xy9"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_id_may_begin_with_a_hyphen(command, monkeypatch):
    monkeypatch.setenv("PLACET_TOKEN", "placet_a_b")
    done = CliRunner().invoke(build(command), [*command, *NOBODY])
    assert "127.0.0.1:9" in str(done.exception), done.output
    mistyped = CliRunner().invoke(build(command), [*command, "--sytem", "x", *NOBODY])
    assert mistyped.exit_code == 2
