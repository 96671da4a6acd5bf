"""What must be denied, said again in Python: an independent reading of tokens, warrants and the payments policy.

It knows necessary conditions only. Where it refuses, no decision may allow; where it does not, the library may still
deny.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt
from jwt.algorithms import get_default_algorithms

from app.core.errors import PlacetError
from app.core.holder_keys import request_digest
from app.core.jwk import vet
from app.core.warrant_chain import verify_chain
from app.core.warrant_scope import covers, covers_resource, validated, violated
from app.core.warrant_trust import Signer, WarrantTrust
from bench.world import AUDIENCE, DOMAIN, PARTNER, SIDECAR, WARRANTS, Key, World

TEAMS = {
    "spiffe://example.org/api": ["authorize", "read"],
    "spiffe://example.org/support": ["read", "refund"],
    "spiffe://example.org/report": ["read"],
}
LIMITS = {"EUR": 500, "USD": 550}


def refuses(world: World, asked: Any, now: float) -> str | None:
    """Why the request must be denied, or None when this reading finds no reason."""
    try:
        return _refusal(world, asked, now)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, jwt.PyJWTError, PlacetError) as error:
        return f"{type(error).__name__}: {error}"


def _refusal(world: World, asked: Any, now: float) -> str | None:
    action, resource = asked["action"]["name"], asked["resource"]
    context = asked.get("context", {})
    if set(asked) - {"identity", "action", "resource", "context", "warrant", "proof", "environment", "execution"}:
        return "an unknown member"
    if not all(isinstance(text, str) and text for text in (action, resource["type"], resource["id"])):
        return "a name that is none"
    if "token" in asked.get("execution", {}):
        subject = _in_execution(world, asked, context)
    else:
        subject = _identified(world, asked["identity"]["token"])
    if "warrant" in asked:
        _warranted(world, asked, context, subject, now)
    if resource["type"] != "payment" or action not in TEAMS[subject]:
        return "the policy"
    if action == "refund" and not 0 < context["amount"] <= LIMITS[context["currency"]]:
        return "the limit"
    return None


def _identified(world: World, token: str) -> str:
    header = jwt.get_unverified_header(token)
    unverified = jwt.decode(token, options={"verify_signature": False})
    issuer = unverified["iss"]
    key = world.keys[issuer]
    _require(set(header) <= {"alg", "kid", "typ"} and header["kid"] == key.name and header["alg"] == key.alg)
    claims = _verified(token, key, require=["exp", "aud", "sub"])
    return str(claims["sub"])


def _in_execution(world: World, asked: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    _require(not {"identity", "warrant", "proof"} & set(asked))
    token = asked["execution"]["token"]
    _require(jwt.get_unverified_header(token)["typ"] == "execution+jwt")
    claims = _verified(token, world.keys[SIDECAR], require=["exp", "aud", "iss"])
    _require(claims["iss"] == SIDECAR and claims["exe"] == asked["execution"]["id"])
    _covered(claims["actions"], claims["resources"], claims["constraints"], asked, context)
    return str(claims["sub"])


def _warranted(world: World, asked: Mapping[str, Any], context: Mapping[str, Any], subject: str, now: float) -> None:
    key = world.keys[WARRANTS]
    signers = {WARRANTS: Signer(DOMAIN, {key.name: vet(key.name, key.jwk)})}
    holders = {issuer: trusted["domain"] for issuer, trusted in world.issuers().items()}
    trust = WarrantTrust(DOMAIN, signers, frozenset({PARTNER}), holders, frozenset({"revoked"}))
    chain = verify_chain(asked["warrant"], trust, AUDIENCE, now)
    last = chain.warrants[-1]
    _require(subject in (last.holder.id, last.subject.id))
    _covered(last.actions, last.resources, {}, asked, context)
    _require(violated(last.constraints or {}, context) is None)
    if last.cnf:
        proof = _verified_by(asked["proof"], last.cnf.jwk)
        resource = asked["resource"]
        _require(proof["req"] == request_digest(asked["action"]["name"], resource["type"], resource["id"]))
        _require(now - 61 <= proof["iat"] <= now + 3)


def _covered(
    actions: list[str], resources: list[str], constraints: Any, asked: Mapping[str, Any], context: Mapping[str, Any]
) -> None:
    _require(covers(actions, asked["action"]["name"]))
    _require(covers_resource(resources, asked["resource"]["type"], asked["resource"]["id"]))
    _require(violated(validated(constraints, "constraints"), context) is None)


def _verified(token: str, key: Key, require: list[str]) -> dict[str, Any]:
    options: Any = {"require": require, "verify_iat": False}
    return jwt.decode(
        token, key.private.public_key(), algorithms=[key.alg], audience=AUDIENCE, options=options, leeway=1
    )


def _verified_by(token: str, jwk: Mapping[str, str]) -> dict[str, Any]:
    alg = {"Ed25519": "EdDSA", "P-256": "ES256"}[jwk["crv"]]
    public = get_default_algorithms()[alg].from_jwk(dict(jwk))
    return jwt.decode(token, public, algorithms=[alg], options={"verify_iat": False})


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError("refused")
