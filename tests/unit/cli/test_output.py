"""What commands print is obeyed by no terminal, and is the same document."""

import json

from app.core.errors import Denied
from app.core.reason_codes import Reason
from cli.denial import told
from cli.output import Output, emit, escaped
from cli.warrant_options import words

HOSTILE = {"a": "\x9b2J \x7f \u202e \u2066 \U000e0041 é 日本 \x1b", "b": ["\ud800"]}


def test_json_escapes_what_a_terminal_obeys_and_keeps_letters(capsys):
    emit(HOSTILE, Output.JSON)
    out = capsys.readouterr().out
    assert json.loads(out) == HOSTILE
    assert all(one.isprintable() or one == "\n" for one in out)
    assert "é 日本" in out
    assert escaped('"\x7f"') == '"\\u007f"'


def test_in_a_pipe_one_long_cell_makes_no_other_row_longer(capsys):
    emit({"id": "a", "nothing": None, "context": {"text": "x" * 3000}}, Output.TABLE)
    short, empty, long = capsys.readouterr().out.splitlines()
    assert (short, empty) == ("id       a", "nothing")
    assert len(long) > 3000
    emit([{"id": "a", "why": "x" * 300}, {"id": "b", "why": "y"}], Output.TABLE)
    assert capsys.readouterr().out.splitlines()[2] == "b   y"


def test_a_table_says_yes_and_no_and_json_true_and_false(capsys):
    emit([{"id": "a", "open": True}, {"id": "b", "open": False}], Output.TABLE)
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [["a", "yes"], ["b", "no"]]
    emit({"open": True}, Output.TABLE)
    assert capsys.readouterr().out.split() == ["open", "yes"]
    emit({"open": True}, Output.JSON)
    assert json.loads(capsys.readouterr().out) == {"open": True}
    assert (words(True), words(False), words(1)) == ("yes", "no", "1")


def test_a_denial_says_step_and_place_once():
    denied = Denied(Reason.PROOF_LEAF, "the hash differs", step="leaf", field="record")
    assert told(denied) == "proof.leaf: the hash differs (step leaf, record)"
    named = Denied(Reason.PROOF_LEAF, "record: the hash differs", field="record")
    assert told(named) == "proof.leaf: record: the hash differs"
    assert told(Denied(Reason.PROOF_LEAF, "the hash differs")) == "proof.leaf: the hash differs"
