"""Whoever replays is told where library or OPA are others than those that decided."""

from collections import Counter
from types import SimpleNamespace

from cli.decision_sources import say_what_decided


def test_other_libraries_and_other_opas_are_told(capsys):
    opa = SimpleNamespace(digest="sha256:aa")
    replay, parts = SimpleNamespace(others=Counter()), SimpleNamespace(opas=Counter({"sha256:aa": 7}))
    say_what_decided(replay, parts, opa)
    assert capsys.readouterr().err == ""
    replay.others["sha256:11"] = 2
    parts.opas["sha256:bb"] = 3
    say_what_decided(replay, parts, opa)
    assert capsys.readouterr().err.splitlines() == [
        "2 records by the library sha256:11, which is not this version's",
        "3 records by the OPA sha256:bb, and this is sha256:aa; --opa names another",
    ]
