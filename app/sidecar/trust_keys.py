"""Public keys in the trust state, vetted, one set for each key id; and the index of headers that are usual."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.core import jwk
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.targets import TrustedSigner

#: Warrants and attestation results are signed with these alone.
_SIGNERS = ("EdDSA", "ES256")
#: A JWT-SVID need not name its issuer, so that its header says too little.
_INDEXED = ("oidc", "kubernetes")


def vetted_keys(
    owner: str, keys: Mapping[str, Mapping[str, Any]], algorithms: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """Keys by id, as `{alg, jwks}` with the set as text. Raises `Denied` for a bad one, or another algorithm."""
    try:
        vetted = {kid: jwk.vet(kid, key) for kid, key in keys.items()}
    except jwk.KeyRefused as error:
        raise Denied(Reason.METADATA_INVALID, f"a key of {owner}: {error}") from error
    for key in vetted.values():
        if algorithms is not None and key.alg not in algorithms:
            raise Denied(
                Reason.METADATA_INVALID, f"a key of {owner} is for {key.alg}; {', '.join(algorithms)} are taken"
            )
    return {kid: {"alg": key.alg, "jwks": key.jwks_text()} for kid, key in vetted.items()}


def signers(trusted: Iterable[TrustedSigner], what: str) -> dict[str, Any]:
    """Those who sign warrants or attestation results, by name."""
    found: dict[str, Any] = {}
    for one in trusted:
        if one.issuer in found:
            raise Denied(Reason.METADATA_INVALID, f"{what}, {one.issuer}, stands twice")
        found[one.issuer] = {"domain": one.domain, "keys": vetted_keys(one.issuer, one.keys, _SIGNERS)}
    return found


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
        if header not in ambiguous
        and issuers[key["issuer"]]["kind"] in _INDEXED
        and len(issuers[key["issuer"]]["audiences"]) == 1
    }


def _spellings(alg: str, kid: str) -> Iterator[str]:
    """The headers that common libraries write: sorted as in Go and Python, or with `alg` or `typ` first."""
    for members in (("alg", "kid"), ("alg", "kid", "typ"), ("alg", "typ", "kid"), ("typ", "alg", "kid")):
        header = {name: {"alg": alg, "kid": kid, "typ": "JWT"}[name] for name in members}
        text = json.dumps(header, separators=(",", ":")).encode()
        yield base64.urlsafe_b64encode(text).rstrip(b"=").decode()
