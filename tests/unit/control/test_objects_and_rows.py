"""An object lies there once a row names it, and is what its row says, whoever asks at the same moment."""

import json
import threading
from hashlib import sha256

import pytest

from app.control import lineage, links
from app.control.lineage import Refused
from app.control.store import LineageBreak, Link
from app.core.errors import Denied
from app.core.reason_codes import Reason

from .batch_kit import plain_evidence, rows
from .link_kit import Journal


@pytest.fixture
def plane(signed_plane):
    return signed_plane


@pytest.fixture(autouse=True)
def payments(api):
    api.create_system("payments")


def keys(plane, prefix):
    return [key for key, _ in plane.objects.keys(prefix)]


def take(plane, journal, made, **evidence):
    signed = plain_evidence(made.statement(), journal.signer, **evidence).decode()
    return links.take(plane, "payments", "one", json.dumps({"evidence": signed}).encode())


def test_a_statement_that_comes_second_leaves_no_object(plane, monkeypatch):
    """Both of one number were asked about, and found fit, before either was stored."""
    journal = Journal()
    first = journal.start()
    second, store = journal.peek_twin(), links._store

    def after_the_other(*given):
        monkeypatch.undo()
        take(plane, journal, first)
        return store(*given)

    monkeypatch.setattr(links, "_store", after_the_other)
    with pytest.raises(Denied) as denied:
        take(plane, journal, second)
    assert denied.value.reason is Reason.LINK_FORK
    [row] = rows(plane, Link)
    assert keys(plane, "links") == [row.object], "else it would be in what is told without rows"


def test_the_same_statement_under_two_signatures_is_the_one_that_its_row_says(plane, monkeypatch):
    journal = Journal()
    made = journal.start()
    resources, others = links.resources, []

    def beside_the_other(*given):
        monkeypatch.undo()
        others.append(threading.Thread(target=take, args=(plane, journal, made), kwargs={"log_index": 99}))
        others[0].start()
        others[0].join(1)  # it waits for this transaction, after whatever it does before
        return resources(*given)

    monkeypatch.setattr(links, "resources", beside_the_other)
    assert take(plane, journal, made) == 1
    others[0].join()
    [row] = rows(plane, Link)
    assert sha256(plane.objects.get(row.object)).hexdigest() == row.evidence_sha256


def test_what_is_refused_beside_another_break_leaves_no_object(plane, monkeypatch):
    """Records may be in it, and an erasure looks at what rows name."""
    is_new = lineage._is_new

    def refused(body):
        lineage.refuse(plane, Refused("payments", "one", "i1", Denied(Reason.BATCH_GAP, "no"), body, stops=True))

    def before_the_other(*given):
        monkeypatch.undo()
        found = is_new(*given)
        refused(b"one")
        return found

    monkeypatch.setattr(lineage, "_is_new", before_the_other)
    with pytest.raises(Denied) as denied:
        refused(b"other")
    assert denied.value.reason is Reason.LINEAGE_BROKEN
    [row] = rows(plane, LineageBreak)
    assert keys(plane, "quarantine") == [row.object]
