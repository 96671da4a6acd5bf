"""Certificates that end, tokens that are not given, services that do not answer.

Real signatures are made in tests/integration/test_sidecar_batches.py.
"""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason
from app.core.signing import Unanswered
from app.sidecar import statement_signer as module
from app.sidecar.control_plane import NotAccepted
from app.sidecar.statement_signer import StatementSigner, Unsigned

from .batch_kit import SIDECAR


class Sessions:
    """Stands for Fulcio, timestamp authority and Rekor: makes sessions that last `lasts` seconds."""

    def __init__(self):
        self.made = []
        self.lasts = 600
        self.identity = SIDECAR
        self.fail = lambda: None

    def __call__(self, trust, token):
        session = Session(self, token)
        self.made.append(session)
        return session


class Session:
    def __init__(self, sessions, token):
        self.sessions = sessions
        self.token = token
        self.identity = sessions.identity
        self.issuer = "https://placet.example.org"
        self.valid_until = datetime.now(UTC) + timedelta(seconds=sessions.lasts)

    def sign(self, statement):
        self.sessions.fail()
        return b"signed: " + statement


@pytest.fixture
def sessions(monkeypatch):
    sessions = Sessions()
    monkeypatch.setattr(module, "SigningSession", sessions)
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    return sessions


@pytest.fixture
def verified(monkeypatch):
    """What was verified: (evidence, subject, identity)."""
    seen = []

    def verify(raw, *, subject, policy, trust, step):
        seen.append((raw, subject, policy.identities[0].identity, policy.identities[0].issuer))

    monkeypatch.setattr(module, "verify_evidence", verify)
    return seen


@pytest.fixture
def unsigned():
    return Unsigned(b"a statement", "sha256:" + "a" * 64, SIDECAR)


class Tokens:
    def __init__(self):
        self.asked = 0
        self.fail = lambda: None

    def __call__(self):
        self.asked += 1
        self.fail()
        return f"token {self.asked}"


@pytest.fixture
def tokens():
    return Tokens()


@pytest.fixture
def signer(sessions, verified, tokens):
    return StatementSigner(None, tokens, lambda: None)


def raising(error):
    def fail():
        raise error

    return fail


def test_one_certificate_signs_many(signer, sessions, tokens, unsigned, verified):
    for _ in range(5):
        assert signer.sign(unsigned) == b"signed: " + unsigned.statement
    assert len(sessions.made) == tokens.asked == 1
    assert verified == [(b"signed: " + unsigned.statement, unsigned.subject, SIDECAR, sessions.made[0].issuer)] * 5


@pytest.mark.parametrize(("lasts", "certificates"), [(61, 1), (59, 2), (-5, 2)])
def test_a_certificate_that_ends_soon_is_not_used_any_more(signer, sessions, unsigned, lasts, certificates):
    sessions.lasts = lasts
    signer.sign(unsigned)
    sessions.lasts = 600
    signer.sign(unsigned)
    assert len(sessions.made) == certificates


def test_many_threads_get_one_certificate(signer, sessions, unsigned):
    futures = [signer.begin(unsigned) for _ in range(30)]
    assert {future.result(10) for future in futures} == {b"signed: " + unsigned.statement}
    assert len(sessions.made) == 1


def test_whoever_waits_is_told_of_success_and_failure(sessions, verified, tokens, unsigned):
    told = threading.Semaphore(0)
    signer = StatementSigner(None, tokens, told.release)
    signer.begin(unsigned).result(10)
    assert told.acquire(timeout=10)
    sessions.fail = raising(PlacetError("cannot sign: no"))
    future = signer.begin(unsigned)
    assert told.acquire(timeout=10)
    assert future.done()
    assert str(future.exception()) == "cannot sign: no"


def test_no_token_no_signature(signer, tokens, sessions, unsigned):
    tokens.fail = raising(NotAccepted("status 403: evicted", Reason.SIDECAR_EVICTED))
    with pytest.raises(NotAccepted) as refused:
        signer.begin(unsigned).result(10)
    assert refused.value.reason == Reason.SIDECAR_EVICTED
    assert sessions.made == []
    tokens.fail = lambda: None
    assert signer.begin(unsigned).result(10)


def test_many_threads_do_not_all_ask_in_vain(signer, tokens, unsigned, monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 60.0)
    tokens.fail = raising(NotAccepted("the control plane does not answer"))
    for _ in range(10):
        with pytest.raises(NotAccepted, match="does not answer"):
            signer.sign(unsigned)
    assert tokens.asked == 1


def test_a_service_that_does_not_answer_costs_no_certificate(signer, sessions, unsigned):
    sessions.fail = raising(Unanswered("cannot sign: rekor does not answer"))
    for _ in range(3):
        with pytest.raises(Unanswered):
            signer.sign(unsigned)
    assert len(sessions.made) == 1


def test_after_any_other_failure_there_is_another_certificate(signer, sessions, unsigned):
    sessions.fail = raising(PlacetError("cannot sign: ExpiredCertificate"))
    with pytest.raises(PlacetError):
        signer.sign(unsigned)
    sessions.fail = lambda: None
    signer.sign(unsigned)
    assert len(sessions.made) == 2


def test_a_token_of_another_sidecar_signs_nothing(signer, sessions, unsigned, verified):
    sessions.identity = "spiffe://example.org/sidecar/payments/other"
    with pytest.raises(PlacetError, match=r"vouches for .*/other, and the statement is of .*/till"):
        signer.sign(unsigned)
    assert verified == []
    sessions.identity = SIDECAR
    signer.sign(unsigned)


def test_a_signature_that_does_not_verify_is_not_shipped(signer, sessions, unsigned, monkeypatch):
    """The control plane would take it for a break; such as one that was timestamped after the certificate's end."""

    def refuse(*_, **__):
        raise Denied(Reason.EVIDENCE_INVALID, "the timestamp is outside of the certificate's validity")

    with monkeypatch.context() as strict:
        strict.setattr(module, "verify_evidence", refuse)
        with pytest.raises(PlacetError, match=r"does not verify: evidence\.invalid") as error:
            signer.sign(unsigned)
        assert not isinstance(error.value, Denied)
    assert signer.sign(unsigned)
    assert len(sessions.made) == 2


def test_a_defect_is_handed_on_too(signer, sessions, unsigned):
    sessions.fail = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        signer.begin(unsigned).result(10)
