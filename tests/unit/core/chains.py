"""Real chains of warrants, made by hand: what `mint` and `delegate` would refuse to make can be made here."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

from app.core import holder_keys
from app.core.holder_keys import HolderKey
from app.core.jwk import vet
from app.core.warrant_trust import Signer, WarrantTrust

#: When all this happens: a run of the tests may last longer than a warrant.
NOW = 1_800_000_000
HOME = "example.org"
PARTNER = "partner.example"
PLANE = f"spiffe://{HOME}/control-plane"
AUDIENCE = f"spiffe://{HOME}/system/payments"
ISSUER = "https://tokens.example.org"
AGENTS = f"spiffe://{PARTNER}"

ROOT_KEY = holder_keys.generate()
OTHER_KEY = holder_keys.generate("ES256")

TRUST = WarrantTrust(
    domain=HOME,
    issuers={PLANE: Signer(HOME, {"k1": vet("k1", ROOT_KEY.jwk), "k2": vet("k2", OTHER_KEY.jwk)})},
    links=frozenset({PARTNER}),
    holders={ISSUER: HOME, AGENTS: PARTNER, "https://stranger.example": "stranger.example"},
)


def segment(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def token(claims, key: HolderKey, **header):
    """A JWT over any JSON, with any header, well signed."""
    header = {"alg": key.alg, "typ": "warrant+jwt"} | header
    head = {name: value for name, value in header.items() if value is not None}
    signed = f"{segment(json.dumps(head).encode())}.{segment(json.dumps(claims).encode())}"
    return signed + "." + segment(signature(key, signed.encode()))


def signature(key: HolderKey, message: bytes) -> bytes:
    from jwt.algorithms import get_default_algorithms

    return get_default_algorithms()[key.alg].sign(message, key.private)


def claims(subject="job-17", issuer=ISSUER, **changes):
    """A root warrant's claims; a change to None removes the claim."""
    whole = {
        "iss": PLANE,
        "sub": subject,
        "sub_id": {"format": "iss_sub", "iss": issuer, "sub": subject},
        "aud": AUDIENCE,
        "iat": NOW,
        "exp": NOW + 600,
        "jti": "root",
        "actions": ["refund", "read*"],
        "resources": ["payment/*"],
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


@dataclass
class Hand:
    """Somebody who holds warrants."""

    name: str
    issuer: str = ISSUER
    key: HolderKey = field(default_factory=holder_keys.generate)

    @property
    def cnf(self):
        return {"jwk": self.key.jwk}


def root(holder: Hand | None = None, *, key=ROOT_KEY, kid="k1", **changes):
    """A root warrant, delegable when `holder` is given."""
    extra = {"cnf": holder.cnf, "depth": 3} if holder else {}
    subject = (holder.name, holder.issuer) if holder else ("job-17", ISSUER)
    return token(claims(*subject, **(extra | changes)), key, kid=kid)


def hop(parent: Hand, child: Hand, **changes):
    """What `parent` gives to `child`: by default all but the last depth."""
    given = {"iss": parent.name, "jti": "to-" + child.name.rpartition("/")[2], "cnf": child.cnf, "depth": 2} | changes
    return token(claims(child.name, child.issuer, **given), parent.key)
