"""What commands print is obeyed by no terminal, and is the same document."""

import json

from cli.output import Output, emit, escaped

HOSTILE = {"a": "\x9b2J \x7f \u202e \u2066 \U000e0041 é 日本 \x1b", "b": ["\ud800"]}


def test_json_escapes_what_a_terminal_obeys_and_keeps_letters(capsys):
    emit(HOSTILE, Output.JSON)
    out = capsys.readouterr().out
    assert json.loads(out) == HOSTILE
    assert all(one.isprintable() or one == "\n" for one in out)
    assert "é 日本" in out
    assert escaped('"\x7f"') == '"\\u007f"'
