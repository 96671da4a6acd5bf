"""Chains of warrants for the property test: honest ones of every length, and what somebody with a key may try.

Everything is drawn from one seeded generator, so a failing chain can be made again from its number.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

Claims = dict[str, Any]

#: The one clock reading, in seconds.
NOW = 1_800_000_000
AUDIENCE = "spiffe://example.org/system/payments"
HOME, PARTNER, STRANGER = "https://home.example", "https://partner.example", "https://stranger.example"
DOMAINS = {HOME: "example.org", PARTNER: "partner.example", STRANGER: "stranger.example"}
LINKED = {"example.org", "partner.example"}
CONTROL_PLANES = {f"spiffe://{domain}/control-plane": domain for domain in DOMAINS.values()}
REVOKED = "revoked-one"

ACTIONS = ["refund", "refund.all", "refund.part", "read", "read.all", "a:", "a:b", "a:*x"]
RESOURCES = ["payment/p-1", "payment/p-12", "payment/q", "ledger/main", "ledger/m/n"]


class Key:
    """A signing key, Ed25519 or P-256."""

    def __init__(self, alg: str) -> None:
        self.alg = alg
        self._ed, self._ec = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
        jwk = (
            OKPAlgorithm.to_jwk(self._ed.public_key(), as_dict=True)
            if alg == "EdDSA"
            else ECAlgorithm.to_jwk(self._ec.public_key(), as_dict=True)
        )
        self.jwk = {name: jwk[name] for name in ("kty", "crv", "x", "y") if name in jwk}

    def sign(self, header: Claims, claims: Claims) -> str:
        """A JWT of whatever claims."""
        text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        if self.alg == "EdDSA":
            signature = self._ed.sign(text.encode())
        else:
            r, s = decode_dss_signature(self._ec.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{text}.{_encoded(signature)}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


KEYS = [Key(alg) for alg in ("EdDSA", "ES256") for _ in range(6)]
ROOT_KEYS = {"w1": Key("EdDSA"), "w2": Key("ES256")}


@dataclass
class Hop:
    """One warrant: what it says, and with which key it is signed."""

    claims: Claims
    key: Key
    kid: str | None = None

    def token(self) -> str:
        """The warrant as a JWT."""
        header = {"alg": self.key.alg, "typ": "warrant+jwt"} | ({} if self.kid is None else {"kid": self.kid})
        return self.key.sign(header, self.claims)


@dataclass
class Case:
    """A chain, who presents it, and for what."""

    number: int
    hops: list[Hop]
    subject: Claims
    request: Claims
    redeemed: bool
    tried: list[str] = field(default_factory=list)

    def input(self) -> Claims:
        """The decision's input, without the identity."""
        return {**self.request, "warrant": [hop.token() for hop in self.hops]}


def trust() -> Claims:
    """The trust state that all cases share."""
    keys = {
        kid: {"alg": key.alg, "jwks": json.dumps({"keys": [key.jwk]})} for kid, key in ROOT_KEYS.items()
    }  # fmt: skip
    return {
        "domain": "example.org",
        "audience": AUDIENCE,
        "links": {"partner.example": True},
        "issuers": {issuer: {"kind": "oidc", "domain": domain} for issuer, domain in DOMAINS.items()},
        "warrant": {
            "required": True,
            "issuers": {name: {"domain": domain, "keys": keys} for name, domain in CONTROL_PLANES.items()},
            "revoked": {REVOKED: {"expires_at": NOW + 9}},
        },
    }


def honest(draw: random.Random) -> list[Hop]:
    """A chain of 1 to 9 hops, each equal to or narrower than the one before."""
    length = draw.choices(range(1, 10), weights=[9, 9, 9, 5, 2, 2, 1, 1, 1])[0]
    kid = draw.choice(list(ROOT_KEYS))
    claims: Claims = {
        "iss": draw.choice([name for name, domain in CONTROL_PLANES.items() if domain in LINKED]),
        "aud": draw.choice([AUDIENCE, [AUDIENCE], [AUDIENCE, "another"]]),
        "iat": NOW - draw.randrange(1, 90),
        "exp": NOW + draw.randrange(240, 900),
        "jti": "hop-0",
        "actions": _patterns(draw, ACTIONS),
        "resources": _patterns(draw, RESOURCES),
        "depth": length - 1,
    }
    if draw.random() < 0.6:
        claims["constraints"] = {"amount": {"at_most": draw.choice([10, 100, 100.5])}}
    if draw.random() < 0.3:
        claims.setdefault("constraints", {})["currency"] = {"in": ["EUR", "USD", 7, True]}
    _name_holder(draw, claims)
    hops = [Hop(claims, ROOT_KEYS[kid], kid)]
    for position in range(1, length):
        key = draw.choice(KEYS)
        hops[-1].claims["cnf"] = {"jwk": key.jwk}
        hops.append(Hop(_narrowed(draw, hops[-1].claims, position), key))
    return hops


def _narrowed(draw: random.Random, parent: Claims, position: int) -> Claims:
    child: Claims = {
        "iss": holder(parent)[1],
        "aud": draw.choice([parent["aud"], AUDIENCE]),
        "iat": NOW - draw.randrange(1, 60),
        "exp": draw.randrange(NOW + 240, parent["exp"] + 1),
        "jti": f"hop-{position}",
        "actions": _under(draw, parent["actions"], ACTIONS),
        "resources": _under(draw, parent["resources"], RESOURCES),
        "depth": parent["depth"] - 1,
    }
    if "nbf" in parent or draw.random() < 0.2:
        child["nbf"] = max(NOW - draw.randrange(0, 60), parent.get("nbf", 0))
    constraints = copy.deepcopy(parent.get("constraints", {}))
    if "at_most" in constraints.get("amount", {}) and draw.random() < 0.5:
        constraints["amount"]["at_most"] -= 1
    if draw.random() < 0.2:
        constraints.setdefault("amount", {})["at_least"] = constraints.get("amount", {}).get("at_least", 0) + 1
    if "currency" in constraints and draw.random() < 0.5:
        constraints["currency"]["in"] = ["EUR"]
    if constraints:
        child["constraints"] = constraints
    _name_holder(draw, child)
    return child


def _name_holder(draw: random.Random, claims: Claims) -> None:
    issuer, sub = draw.choice([HOME, PARTNER]), f"s{draw.randrange(5)}"
    claims["sub"], claims["sub_id"] = sub, {"format": "iss_sub", "iss": issuer, "sub": sub}
    if draw.random() < 0.25:
        claims["act"] = {"iss": draw.choice([HOME, PARTNER]), "sub": f"agent{draw.randrange(3)}"}


def _patterns(draw: random.Random, texts: list[str]) -> list[str]:
    one = [draw.choice([text, text, text[: draw.randrange(len(text))] + "*"]) for text in draw.sample(texts, 3)]
    return [pattern for pattern in one if "*" not in pattern[:-1]] or ["*"]


def _under(draw: random.Random, parents: list[str], texts: list[str]) -> list[str]:
    own = []
    for pattern in draw.sample(parents, draw.randrange(1, len(parents) + 1)):
        below = [text for text in texts if pattern.endswith("*") and text.startswith(pattern[:-1]) and "*" not in text]
        own.append(draw.choice([pattern, draw.choice(below), draw.choice(below) + "*"]) if below else pattern)
    return own


def holder(claims: Claims) -> tuple[Any, Any]:
    """Who may use a warrant: issuer and name."""
    return (claims["act"]["iss"], claims["act"]["sub"]) if "act" in claims else (claims["sub_id"]["iss"], claims["sub"])


def caller(draw: random.Random, claims: Claims) -> Claims:
    """The verified identity of who may use the warrant."""
    issuer, sub = holder(claims)
    who: Claims = {"issuer": issuer, "id": sub, "domain": DOMAINS[issuer], "claims": {}, "actors": []}
    if "act" in claims and draw.random() < 0.5:
        who |= {"issuer": claims["sub_id"]["iss"], "id": claims["sub"], "actors": [{"issuer": issuer, "id": sub}]}
    return who


def request(draw: random.Random, claims: Claims) -> Claims:
    """A request that the warrant more often covers than not."""
    action, resource = (draw.choice(claims[member]) for member in ("actions", "resources"))
    if draw.random() < 0.25:
        action, resource = draw.choice(ACTIONS), draw.choice(RESOURCES)
    kind, _, name = resource.replace("*", "").partition("/")
    return {
        "action": {"name": action.replace("*", "") or "any"},
        "resource": {"type": kind or "any", "id": name or "x"},
        "context": {
            "amount": draw.choice([2, 2, 5, 9.5, 10, 100, 101, "2"]),
            "currency": draw.choice(["EUR", "EUR", 7]),
        },
    }
