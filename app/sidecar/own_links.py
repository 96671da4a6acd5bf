"""What the agent itself writes into the journal: releases that OPA enforces, trust states, and the lease.

While the journal cannot be written there is no lease; what happened meanwhile is written as soon as it can be.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.core import statements, strict_json
from app.core.bundle import digest_of
from app.core.errors import Denied
from app.core.link_names import ENFORCE, RENEWED, TRUST, WITHDRAWN, Ref, payload_digest
from app.core.reason_codes import Reason
from app.sidecar import archived_states
from app.sidecar.doubts import Doubt
from app.sidecar.journal import Journal
from app.sidecar.journal_draft import Draft
from app.sidecar.journal_shipping import JournalShipping
from app.sidecar.releases import Prepared
from app.sidecar.trust_state import TrustState

#: What happened while the journal could not be written: at most so much is remembered.
_REMEMBERED = 256
_MAX_DETAIL, _MAX_NAME = 1000, 500


class Unnoted(Denied):
    """What happens cannot be written into the journal, so it must not happen."""


class OwnLinks:
    """Writes of one sidecar. Threads may share it."""

    def __init__(
        self,
        journal: Journal,
        shipping: JournalShipping,
        sidecar: Callable[[], str | None],
        states: Path,
        library: str,
        opa: str,
    ) -> None:
        """`states`: the archive of trust states. `library`, `opa`: their digests."""
        self._journal = journal
        self._shipping = shipping
        self._sidecar = sidecar
        self._states = states
        self._library = library
        self._opa = opa
        self._lock = threading.RLock()
        self._left: deque[Draft] = deque(maxlen=_REMEMBERED)
        self._state: str | None = None
        self._trust: Mapping[str, Any] = {}
        self._held = False

    def open(self) -> None:
        """Read which trust state the journal knows last."""
        last = self._journal.last(TRUST)
        if last is not None and last.states is not None:
            self._state = last.states[1]
            self._trust = self._archived(self._state)

    def trust(self, state: TrustState, *, required: bool) -> None:
        """OPA is about to be given this trust state; `required`: with a lease, so that it decides by it.

        Raises `Unnoted` when it is required and cannot be noted.
        """
        try:
            self._note_trust(state)
        except Denied as denied:
            if required:
                raise Unnoted(denied.reason, denied.detail) from denied

    def enforced(self, prepared: Prepared) -> None:
        """OPA enforces this release now."""
        release, pointer = prepared.release, prepared.pointer
        evidence = (release.signature, *release.attestations)
        self._note(
            ENFORCE,
            {"channel": pointer.channel, "sequence": str(pointer.sequence)},
            materials=(
                Ref("policy", release.digest),
                Ref("library", self._library),
                Ref("opa", self._opa),
                *sorted({_evidence_ref(one.predicate_type, one.raw) for one in evidence}),
            ),
            about=Ref("revision", digest_of(prepared.composed.raw)),
            policy=release.digest,
        )

    def lease(self, against: Sequence[Doubt]) -> None:
        """The lease is held, or what speaks against it."""
        with self._lock:
            held = not against
            if held == self._held:
                return
            self._held = held
        if held:
            self._note(RENEWED, {"reason": None, "detail": ""})
            return
        detail = "; ".join(f"{one.reason} ({one.detail})" for one in against)
        self._note(WITHDRAWN, {"reason": str(against[0].reason), "detail": detail[:_MAX_DETAIL]})

    def ended(self) -> None:
        """The agent ends, and takes the lease away."""
        self.lease([Doubt("agent", Reason.AGENT_ENDED, "it was asked to end")])

    def write_left(self) -> None:
        """Write what could not be written. Raises `Denied` when it still cannot."""
        with self._lock:
            try:
                while self._left:
                    self._journal.note(self._left[0])
                    self._left.popleft()
            except Denied as denied:
                self._unwritten(denied)
                raise
            if self._shipping.unwritten:
                self._unwritten(None)

    def _note_trust(self, state: TrustState) -> None:
        with self._lock:
            if state.digest == self._state:
                return
            named = sorted({*state.trust, *self._trust})
            changed = [one for one in named if self._trust.get(one) != state.trust.get(one)]
            draft = Draft(
                TRUST, state.trust["execution"]["issuer"], int(time.time()),
                states=(self._state, state.digest), changed=tuple(changed or named),
            )  # fmt: skip
            self.write_left()
            try:
                self._journal.note(draft)
            except Denied as denied:
                self._unwritten(denied)
                raise
            self._state, self._trust = state.digest, state.trust

    def _note(self, kind: str, byproducts: Mapping[str, Any], **more: Any) -> None:
        sidecar = self._sidecar()
        if sidecar is None:
            return  # no metadata yet, so there never was a lease
        with self._lock:
            self._left.append(Draft(kind, sidecar, int(time.time()), byproducts, **more))
            try:
                self.write_left()
            except Denied:
                return  # the lease ends, and the loop of the journal tries again

    def _unwritten(self, why: Denied | None) -> None:
        self._shipping.unwritten = why
        self._shipping.vouch()

    def _archived(self, digest: str) -> dict[str, Any]:
        try:
            document = json.loads(archived_states.path_of(self._states, digest).read_bytes())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}


def _evidence_ref(predicate_type: str, raw: bytes) -> Ref:
    """A statement about a release, by the digest of what was signed."""
    envelope = strict_json.load_object(raw)["dsseEnvelope"]
    known = 0 < len(predicate_type) <= _MAX_NAME and predicate_type.isprintable()
    name = predicate_type if known else statements.STATEMENT
    return Ref(f"evidence/{name}", payload_digest(base64.b64decode(envelope["payload"])))
