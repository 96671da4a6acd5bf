"""Signs a sidecar's statements with Sigstore, several at a time: the log answers after about a second.

The certificate is short-lived, for the sidecar's SPIFFE ID; the control plane's own issuer vouches for it. What was
signed is verified here before it is shipped: the control plane takes a signature that does not verify for a break.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from app.core.errors import Denied, PlacetError
from app.core.evidence import verify_evidence
from app.core.signing import SigningSession, Unanswered
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy

_Key = TypeVar("_Key")

#: A certificate that ends sooner than this is not used any more: signing may take a while.
RENEW_BEFORE = timedelta(seconds=60)
#: Seconds for which nobody asks again for a certificate that could not be had.
_PAUSE = 1.0


@dataclass(frozen=True)
class Unsigned:
    """A statement to be signed: its bytes, the digest that it is about, and the SPIFFE ID of the sidecar."""

    statement: bytes
    subject: str
    sidecar: str


def raise_failed(signing: dict[_Key, Future[bytes]]) -> None:
    """Take those that could not be signed out of what is being signed, and raise what went wrong with the first."""
    failed = {key: future for key, future in signing.items() if future.done() and future.exception()}
    for key in failed:
        del signing[key]
    for future in failed.values():
        future.result()  # raises it


class StatementSigner:
    """Signs for one sidecar. Safe to use from several threads."""

    def __init__(self, trust: TrustConfig, token: Callable[[], str], signed: Callable[[], None]) -> None:
        """`token` gets an identity token of the sidecar's. `signed` is called when one was signed, or was not."""
        self._trust = trust
        self._token = token
        self._signed = signed
        self._lock = threading.Lock()
        self._session: SigningSession | None = None
        self._failed: tuple[float, PlacetError] | None = None

    def begin(self, unsigned: Unsigned) -> Future[bytes]:
        """Sign a statement in a thread of its own. Gives the Sigstore bundle (JSON), or the `PlacetError`."""
        future: Future[bytes] = Future()
        threading.Thread(target=self._run, args=(unsigned, future), name="signing", daemon=True).start()
        return future

    def sign(self, unsigned: Unsigned) -> bytes:
        """Sign a statement. Raises `PlacetError`."""
        session = self._current(unsigned.sidecar)
        try:
            evidence = session.sign(unsigned.statement)
            self._verify(unsigned, evidence, session)
        except Unanswered:
            raise
        except PlacetError:
            self._drop(session)  # whatever is wrong with its certificate, the next try gets another
            raise
        return evidence

    def _run(self, unsigned: Unsigned, future: Future[bytes]) -> None:
        try:
            future.set_result(self.sign(unsigned))
        except Exception as error:  # noqa: BLE001 - handed on to the thread that asks for the result
            future.set_exception(error)
        self._signed()

    def _current(self, sidecar: str) -> SigningSession:
        """A certificate that lasts. One thread gets it for all."""
        with self._lock:
            session = self._session
            if session is None or session.valid_until - datetime.now(UTC) < RENEW_BEFORE:
                session = self._session = self._new()
        if session.identity != sidecar:
            self._drop(session)
            raise PlacetError(f"the control plane vouches for {session.identity}, and the statement is of {sidecar}")
        return session

    def _new(self) -> SigningSession:
        if self._failed and time.monotonic() - self._failed[0] < _PAUSE:
            raise self._failed[1]
        try:
            session = SigningSession(self._trust, self._token())
        except PlacetError as error:
            self._failed = (time.monotonic(), error)
            raise
        self._failed = None
        return session

    def _drop(self, session: SigningSession) -> None:
        with self._lock:
            if self._session is session:
                self._session = None

    def _verify(self, unsigned: Unsigned, evidence: bytes, session: SigningSession) -> None:
        signer = SignerIdentity(identity=unsigned.sidecar, issuer=session.issuer)
        try:
            verify_evidence(
                evidence,
                subject=unsigned.subject,
                policy=VerificationPolicy(identities=[signer]),
                trust=self._trust,
                step="statement",
            )
        except Denied as denied:
            raise PlacetError(f"a statement was signed, and its signature does not verify: {denied}") from denied
