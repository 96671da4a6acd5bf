"""The trust state: what the control plane publishes, vetted, in the form that the governance library reads.

It is named by its digest and archived, so that a decision's `state` can be found again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import jwk, strict_json
from app.core.bundle import digest_of
from app.core.errors import Denied
from app.core.files import write_atomically
from app.core.reason_codes import Reason
from app.core.targets import PublishedState
from app.sidecar.opa_api import MAX_REQUEST, encoded

#: Bytes beside the trust state in what is written to OPA: the lease, the digest, the names of the members.
_LEASE_ROOM = 1024


@dataclass(frozen=True)
class TrustState:
    """The `trust` member of `data.placet_state`, and its digest."""

    trust: dict[str, Any]
    digest: str

    def archive(self, directory: Path) -> None:
        """Keep the state, by its digest."""
        path = directory / f"{self.digest.removeprefix('sha256:')}.json"
        if not path.exists():
            write_atomically(path, strict_json.canonical(self.trust), mode=0o600)


def from_published(state: PublishedState) -> TrustState:
    """Vet what was published. One bad key refuses all of it: the control plane's word on keys is not enough."""
    issuers: dict[str, Any] = {}
    for issuer in state.issuers:
        if issuer.issuer in issuers:
            raise Denied(Reason.METADATA_INVALID, f"the issuer {issuer.issuer} stands twice")
        try:
            keys = {kid: jwk.vet(kid, key) for kid, key in issuer.keys.items()}
        except jwk.KeyRefused as error:
            raise Denied(Reason.METADATA_INVALID, f"a key of {issuer.issuer}: {error}") from error
        issuers[issuer.issuer] = {
            "audiences": issuer.audiences,
            "keys": {kid: {"alg": key.alg, "jwks": key.jwks_text()} for kid, key in keys.items()},
        }
    subjects: dict[str, dict[str, Any]] = {}
    for one in state.quarantine:
        subjects.setdefault(one.issuer, {})[one.subject] = {"reason": one.reason, "since": one.since}
    trust = {"issuers": issuers, "quarantine": {"subjects": subjects}}
    headers = usual_headers(issuers)
    if headers and len(encoded(trust | {"headers": headers})) <= MAX_REQUEST - _LEASE_ROOM:
        trust["headers"] = headers
    if len(encoded(trust)) > MAX_REQUEST - _LEASE_ROOM:
        raise Denied(Reason.METADATA_INVALID, "the published state is larger than OPA takes in one request")
    return TrustState(trust, digest_of(strict_json.canonical(trust)))


def usual_headers(issuers: Mapping[str, Any]) -> dict[str, Any]:
    """How a JWT's first segment is usually written, and the one key that it then means: `{issuer, kid, alg}`.

    It spares OPA from taking tokens apart. A header that is not listed is read there, with the same verdict, so this
    leaves out what several keys could mean, and issuers of several audiences: there the payload has to be read anyway.
    """
    listed: dict[str, Any] = {}
    ambiguous: set[str] = set()
    for issuer, trusted in issuers.items():
        for kid, key in trusted["keys"].items():
            for header in _spellings(key["alg"], kid):
                if header in listed:
                    ambiguous.add(header)
                listed[header] = {"issuer": issuer, "kid": kid, "alg": key["alg"]}
    return {
        header: key
        for header, key in listed.items()
        if header not in ambiguous and len(issuers[key["issuer"]]["audiences"]) == 1
    }


def _spellings(alg: str, kid: str) -> Iterator[str]:
    """The headers that common libraries write: sorted as in Go and Python, or with `alg` or `typ` first."""
    for members in (("alg", "kid"), ("alg", "kid", "typ"), ("alg", "typ", "kid"), ("typ", "alg", "kid")):
        header = {name: {"alg": alg, "kid": kid, "typ": "JWT"}[name] for name in members}
        text = json.dumps(header, separators=(",", ":")).encode()
        yield base64.urlsafe_b64encode(text).rstrip(b"=").decode()
