"""The sidecar's calls to the control plane's API: ship records, report status, redeem warrants, be attested.

It believes nothing of the answers but that records were kept and that uses were counted. An identity token is for
Sigstore, which verifies it.
"""

from __future__ import annotations

import base64
import gzip
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.core import strict_json
from app.core.batch import BatchStatement
from app.core.break_limit import MAX_TIME
from app.core.errors import PlacetError, reason_of
from app.core.reason_codes import Reason
from app.sidecar.config import SidecarConfig
from app.sidecar.doubts import boot_seconds
from app.sidecar.http_clients import Clients

#: Seconds for one call, and for one for which a caller waits.
TIMEOUT = 15.0
WAITED_FOR = 5.0
_MAX_ANSWER = 64 * 1024
#: The longest time for which a system bears a break: `break_limit.MAX_TIME`.
_MAX_RESPITE = int(MAX_TIME.total_seconds())
#: Of a status, what says that the request is at fault; but for those that say: later (RFC 9110, RFC 6585).
_CLIENT_ERROR, _AGAIN = 4, {408, 425, 429}


@dataclass(frozen=True)
class Respite:
    """How long the system bears a break: its number, and until when, by `boot_seconds` here."""

    number: int
    until: float


class NotAccepted(PlacetError):
    """The control plane did not take what was sent. `reason`: the code that it gave, if it gave one.

    `refused`: it said no, rather than that it could not, or nothing. `respite`: where that is a break that stops this
    sidecar only after a time.
    """

    def __init__(
        self, text: str, reason: Reason | None = None, respite: Respite | None = None, *, status: int | None = None
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.respite = respite
        said_no = status is not None and status // 100 == _CLIENT_ERROR and status not in _AGAIN
        self.refused = reason is not None or said_no


class ControlPlane:
    """The API of one control plane, as one sidecar uses it. Safe to use from several threads."""

    def __init__(self, config: SidecarConfig, token: str, instance: str) -> None:
        ca = config.server_ca
        tls = ssl.create_default_context(cafile=str(ca)) if ca else httpx.create_ssl_context(trust_env=False)
        self._clients = Clients(
            lambda: httpx.Client(
                base_url=f"{config.server.rstrip('/')}/api/v1/systems/{config.system}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=TIMEOUT,
                trust_env=False,
                verify=tls,
            )
        )
        self._name = config.name
        self._instance = instance

    def ship(self, file: Path, first: int, last: int, raw: bytes) -> None:
        """Send the bytes `[first, last)` of a record file. Returns when the control plane holds them durably."""
        answer = self._post(
            f"/sidecars/{self._name}/records",
            params={"instance": self._instance, "file": file.name, "first": first, "last": last},
            content=gzip.compress(raw, compresslevel=1),
            headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
        )
        if answer.get("acknowledged") != last:
            raise NotAccepted(f"acknowledged {answer.get('acknowledged')!r}, not {last}")

    def identity(self) -> str:
        """A token that says who this sidecar is, for a certificate to sign batches with."""
        token = self._post(f"/sidecars/{self._name}/identity").get("token")
        if not isinstance(token, str):
            raise NotAccepted("the control plane's answer holds no identity token")
        return token

    def ship_batch(self, batch: BatchStatement, raw: bytes, salts: bytes, evidence: bytes) -> None:
        """Send a signed batch and its records. Returns when the control plane holds them durably."""
        answer = self._post(
            f"/sidecars/{self._name}/batches",
            json={
                "records": base64.b64encode(gzip.compress(raw, compresslevel=1)).decode(),
                "salts": base64.b64encode(salts).decode(),
                "evidence": evidence.decode(),
            },
        )
        held = (answer.get("acknowledged"), answer.get("entries"))
        if held != (batch.last_byte, batch.next_entry):
            raise NotAccepted(f"acknowledged {held}, not {(batch.last_byte, batch.next_entry)}")

    def ship_link(self, evidence: bytes) -> int:
        """Send a signed statement of the journal. Returns the number of the one that follows what is held durably."""
        answer = self._post(f"/sidecars/{self._name}/links", json={"evidence": evidence.decode()})
        number = answer.get("number")
        if not isinstance(number, str) or not number.isascii() or not number.isdigit():
            raise NotAccepted(f"the control plane answered {number!r}, which is no number of a statement")
        return int(number)

    def put_state(self, digest: str, document: bytes) -> None:
        """Have a trust state kept, so that decisions under it can be replayed."""
        self._call("PUT", f"/states/{digest}", content=document, headers={"Content-Type": "application/json"})

    def report(self, status: Mapping[str, Any]) -> Respite | None:
        """Send the sidecar's status. Returns how long a break of its lineage is borne, if one is open."""
        sent = boot_seconds()
        answer = self._post(f"/sidecars/{self._name}/status", json={"instance": self._instance, **status})
        told = answer.get("lineage")
        if told is None and "received_at" not in answer:  # such as a proxy's own 200: it would end every break
            raise NotAccepted("the control plane does not say that it has received the status")
        respite = _respite(told, sent)
        if told is not None and respite is None:
            raise NotAccepted("the control plane tells of a break, and not when it stops this", Reason.LINEAGE_BROKEN)
        return respite

    def redeem(self, execution: str, subject: Mapping[str, str], warrants: Sequence[Mapping[str, Any]]) -> None:
        """Have one use of each warrant counted for this execution. Returns only when that was confirmed."""
        answer = self._post(
            "/executions",
            json={
                "execution": execution,
                "sidecar": self._name,
                "instance": self._instance,
                "subject": dict(subject),
                "warrants": [dict(warrant) for warrant in warrants],
            },
            timeout=WAITED_FOR,
        )
        if answer.get("execution") != execution:
            raise NotAccepted(f"the control plane confirmed {answer.get('execution')!r}, not {execution}")

    def attest(self, evidence: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Have evidence verified: `{result, expires_at, refresh_after_seconds}`, as the control plane says it."""
        return self._post(f"/sidecars/{self._name}/environment", json={"evidence": [dict(one) for one in evidence]})

    def _post(self, path: str, **request: Any) -> dict[str, Any]:
        return self._call("POST", path, **request)

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        sent = boot_seconds()  # what it says is left was left after this, so it is never counted too long
        try:
            with self._clients.borrow() as http, http.stream(method, path, **request) as answer:
                body = b""
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > _MAX_ANSWER:
                        raise NotAccepted("the control plane's answer is too large")
            document = strict_json.loads(body) if body else {}
        except (httpx.HTTPError, ValueError) as error:
            raise NotAccepted(f"the control plane does not answer: {error or type(error).__name__}") from error
        if not isinstance(document, dict):
            document = {}
        if answer.is_success:
            return document
        detail = document.get("detail") or document.get("title") or "no detail"
        raise NotAccepted(
            f"status {answer.status_code}: {detail}",
            reason_of(document.get("reason")),
            _respite(document, sent),
            status=answer.status_code,
        )


def _respite(given: Any, sent: float) -> Respite | None:
    """What an answer says of a break that is borne, counted from when it was asked; None where it says nothing."""
    if not isinstance(given, dict):
        return None
    number, left = given.get("break"), given.get("stops_in_seconds")
    if type(number) is not int or type(left) is not int or not 0 <= left <= _MAX_RESPITE:
        return None
    return Respite(number, sent + left)
