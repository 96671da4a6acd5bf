"""Who signed the links of a layout's step, counted: the part of the check that comes after the signatures verified."""

import json
from datetime import UTC, datetime

import pytest

from app.core import layout_check, statements
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.layout_form import PipelineStep
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity

HERE, THERE = "https://accounts.example.org", "https://accounts.example.com"
ALICE, BOB = "alice@example.org", "bob@example.org"


def signed(identity, issuer=HERE, report="a" * 64):
    statement = json.loads(
        statements.link("test", command=["check"], materials=[], products=[statements.resource("report", report)])
    )
    signer = SignerIdentity(identity=identity, issuer=issuer)
    return layout_check._StepLink(
        VerifiedStatement(statements.LINK, statement, signer, datetime.now(UTC), b"{}"), "layout.links[0]"
    )


def denial(*links):
    who = [(ALICE, HERE), (ALICE, THERE), (ALICE.title(), HERE), (BOB, HERE)]
    step = PipelineStep(
        name="test",
        functionaries=[{"identity": identity, "issuer": issuer} for identity, issuer in who],
        threshold=2,
        expected_materials=[["DISALLOW", "*"]],
        expected_products=[["ALLOW", "report"], ["DISALLOW", "*"]],
    )
    try:
        layout_check._require_step(step, links)
    except Denied as denied:
        return denied.reason, denied.field, denied.detail
    return None


@pytest.mark.parametrize("again", [(ALICE, HERE), (ALICE, THERE), (ALICE.title(), HERE), (ALICE.upper(), THERE)])
def test_one_person_is_not_two(again):
    """Neither by another issuer nor by capitals."""
    assert denial(signed(ALICE), signed(*again)) == (
        Reason.EVIDENCE_LAYOUT,
        "steps.test.threshold",
        "1 of 2 functionaries signed the step test",
    )


def test_two_persons_are_enough_and_say_the_same():
    assert denial(signed(ALICE), signed(ALICE, THERE), signed(BOB)) is None
    assert denial(signed(ALICE), signed(BOB, report="b" * 64)) == (
        Reason.EVIDENCE_LAYOUT,
        "steps.test",
        "two links of the step test say different things",
    )
    assert denial() == (Reason.EVIDENCE_LAYOUT, "steps.test", "nobody signed a link of the step test")
