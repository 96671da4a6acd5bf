"""Statements about breaks: what was written is read, and nothing else is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core import strict_json
from app.core.break_statement import BREAK, CLEARED, OPENED, BreakStatement, ToldBreak, within
from app.core.errors import Denied
from app.core.link_names import sidecar_ref
from app.core.reason_codes import Reason

A, B = ("sha256:" + one * 64 for one in "ab")
AT = datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)
SIDECAR = "spiffe://example.org/sidecar/payments/till"
IS_OPENED = BreakStatement(SIDECAR, "i1", 12, OPENED, "batch.gap", "entries 1 to 7 are missing", True, A, AT)
IS_CLEARED = replace(IS_OPENED, change=CLEARED, opened=B, by="ann", reason="incident 31")


@pytest.mark.parametrize("says", [IS_OPENED, IS_CLEARED, replace(IS_OPENED, instance=None)])
def test_it_reads_what_it_wrote(says):
    assert BreakStatement.read(says.statement()) == says


def test_the_statement_is_as_documented():
    document = strict_json.load_object(IS_OPENED.statement())
    assert document["predicateType"] == BREAK
    name, digest = sidecar_ref(SIDECAR, "i1")
    assert document["subject"] == [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}]
    assert document["predicate"] == {
        "sidecar": SIDECAR, "instance": "i1", "number": "12", "change": "opened", "at": "2026-11-26T01:02:03Z",
        "kind": "batch.gap", "detail": "entries 1 to 7 are missing", "stops": True, "of": A,
        "opened": None, "by": None, "reason": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"{", "not JSON"),
        (b" " * 70_000, "at most"),
        (IS_OPENED.statement().replace(b"lineage-break", b"lineage-other"), "predicateType"),
        (IS_OPENED.statement() + b" ", "RFC 8785"),
        (IS_OPENED.statement().replace(b"26T01", b"26T25"), "no such time"),
        (replace(IS_OPENED, change="forgiven").statement(), "change"),
        (replace(IS_OPENED, of="sha256:x").statement(), "of"),
        (replace(IS_OPENED, sidecar="spiffe://example.org/control-plane").statement(), "sidecar"),
        (replace(IS_OPENED, by="ann").statement(), "who cleared what"),
        (replace(IS_CLEARED, by=None).statement(), "who cleared what"),
        (replace(IS_CLEARED, opened=None).statement(), "whatever follows the opening"),
    ],
)
def test_what_is_no_statement(raw, told):
    with pytest.raises(Denied, match=told) as denied:
        BreakStatement.read(raw)
    assert denied.value.reason == Reason.LINK_MALFORMED
    assert "\n" not in str(denied.value)


def test_breaks_of_an_execution_are_those_that_were_opened_meanwhile_and_their_clearing():
    def told(number, change, instance, seconds):
        base = IS_OPENED if change == OPENED else IS_CLEARED
        says = replace(base, number=number, instance=instance, at=AT + timedelta(seconds=seconds))
        return ToldBreak(says, says.digest, AT, number)

    every = [told(1, OPENED, "i1", -1), told(1, CLEARED, "i1", 5), told(2, OPENED, "i1", 0), told(2, CLEARED, "i1", 99),
             told(3, OPENED, "i2", 1), told(4, OPENED, None, 9), told(5, OPENED, "i1", 11)]  # fmt: skip
    assert within(every, "i1", AT, AT + timedelta(seconds=10), 9) == [every[2], every[3], every[5]]
    assert within(every, "i1", AT, None, 9) == [every[2], every[3], every[5], every[6]]
    assert within(every, "i1", AT, None, 1) == [every[2]]


def test_breaks_of_an_execution_are_also_those_that_were_borne_when_it_started():
    def told(number, change, seconds, instance="i1"):
        base = IS_OPENED if change == OPENED else IS_CLEARED
        at, stops_at = AT + timedelta(seconds=seconds), AT + timedelta(seconds=900)
        says = replace(base, number=number, instance=instance, at=at, stops_at=stops_at)
        return ToldBreak(says, says.digest, AT, number)

    every = [told(1, OPENED, -9), told(1, CLEARED, -1), told(2, OPENED, -9), told(2, CLEARED, 0), told(3, OPENED, -9),
             told(4, OPENED, -9, "i2"), told(5, OPENED, 11)]  # fmt: skip
    assert within(every, "i1", AT, AT + timedelta(seconds=10), 9) == every[2:5]
    assert within(reversed(every), "i1", AT, AT - timedelta(seconds=10), 9) == []
