"""What the options of `placet warrant` mean."""

import pytest

from app.core.errors import UsageError
from cli import warrant_options


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("8h", 28800), ("2d", 172800)])
def test_durations(text, seconds):
    assert warrant_options.duration(text, "--lifetime") == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5h", "1w", "m", "1 m", "\u0661", "9" * 12])
def test_what_is_no_duration(text):
    with pytest.raises(UsageError, match="--lifetime is a time"):
        warrant_options.duration(text, "--lifetime")


def test_a_lead_may_be_nothing():
    assert warrant_options.duration("0s", "--lead", least=0) == 0
    with pytest.raises(UsageError, match="--lead is a time"):
        warrant_options.duration("-1s", "--lead", least=0)


def test_principals():
    found = warrant_options.principal("https://i.example#a#b")
    assert (found.issuer, found.id) == ("https://i.example", "a#b")
    found = warrant_options.principal("a#b", "https://i.example")
    assert (found.issuer, found.id) == ("https://i.example", "a#b")
    for text in ("a", "#a", "i#", "i#" + "x" * 2049):
        with pytest.raises(UsageError, match="--subject"):
            warrant_options.principal(text)


def test_tokens_come_in_the_order_of_their_files(tmp_path):
    (tmp_path / "a").write_text("one\n\ntwo\n")
    (tmp_path / "b").write_text("three")
    assert warrant_options.tokens([tmp_path / "a", tmp_path / "b"]) == ["one", "two", "three"]
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UsageError, match="no warrant"):
        warrant_options.tokens([tmp_path / "empty"])
    (tmp_path / "large").write_text("x" * 100_000)
    with pytest.raises(UsageError, match="larger than"):
        warrant_options.tokens([tmp_path / "large"])


def test_a_member_is_constrained_in_one_place(tmp_path):
    file = tmp_path / "limits.json"
    file.write_text('{"amount": {"at_most": 5}}')
    with pytest.raises(UsageError, match="say it once"):
        warrant_options.constraints(["amount<=4"], file)
    assert set(warrant_options.constraints(["host=a"], file)) == {"amount", "host"}
