"""What a chain of warrants allows, said in Python from the words of docs/warrant.md, not from the library's Rego.

`allows` is the meaning of one warrant, by itself; `accepted` is the verdict over a chain, rule by rule. The property
test holds both against OPA.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from tests.integration.delegation_kit import (
    AUDIENCE,
    CONTROL_PLANES,
    DOMAINS,
    LINKED,
    NOW,
    REVOKED,
    ROOT_KEYS,
    Case,
    Claims,
    Hop,
    holder,
)

MANDATORY = {"iss", "sub", "sub_id", "aud", "iat", "exp", "jti", "actions", "resources"}
OPTIONAL = {"act", "nbf", "constraints", "uses", "depth", "cnf", "approval"}
LAST_SECOND = 253402300799


def allows(claims: Claims, request: Claims) -> bool:
    """Whether this one warrant allows this request now, here."""
    resource = request["resource"]
    return (
        AUDIENCE in ([claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"])
        and claims.get("nbf", 0) <= NOW < claims["exp"]
        and _matches(claims["actions"], request["action"]["name"])
        and "/" not in resource["type"]
        and _matches(claims["resources"], f"{resource['type']}/{resource['id']}")
        and all(_inside(bound, request["context"], member) for member, bound in claims.get("constraints", {}).items())
    )


def accepted(case: Case) -> bool:
    """Whether the chain authorizes its caller to do what is asked."""
    hops = case.hops
    if not 1 <= len(hops) <= 9 or not all(_well_formed(hop.claims) for hop in hops):
        return False
    last = hops[-1].claims
    return (
        _root_signed(hops[0])
        and all(_signed_by(child, parent.claims) for parent, child in pairwise(hops))
        and all(_follows(child.claims, parent.claims) for parent, child in pairwise(hops))
        and len({hop.claims["jti"] for hop in hops}) == len(hops)
        and all(_stands(hop.claims, case.redeemed) for hop in hops)
        and _callers(last, case.subject)
        and "cnf" not in last  # the cases carry no proof
        and allows(last, case.request)
    )


def _matches(patterns: list[str], text: str) -> bool:
    return any(text.startswith(one[:-1]) if one.endswith("*") else text == one for one in patterns)


def _inside(bound: Claims, context: Claims, member: str) -> bool:
    if member not in context:
        return False
    value = context[member]
    if "in" in bound:
        return any(type(value) is type(one) and value == one for one in bound["in"])
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and bound.get("at_least", value) <= value <= bound.get("at_most", value)


def _root_signed(hop: Hop) -> bool:
    domain = CONTROL_PLANES.get(hop.claims["iss"])
    return domain in LINKED and ROOT_KEYS.get(hop.kid or "") is hop.key


def _signed_by(child: Hop, parent: Claims) -> bool:
    return "cnf" in parent and parent["cnf"]["jwk"] == child.key.jwk


def _stands(claims: Claims, redeemed: bool) -> bool:
    everybody = [claims["sub_id"]["iss"]] + ([claims["act"]["iss"]] if "act" in claims else [])
    return (
        AUDIENCE in _audiences(claims)
        and claims["exp"] > NOW
        and claims.get("nbf", 0) <= NOW
        and claims["iat"] <= NOW + 2
        and claims["jti"] != REVOKED
        and all(DOMAINS.get(issuer) in LINKED for issuer in everybody)
        and ("uses" not in claims or redeemed)
    )


def _callers(claims: Claims, subject: Claims) -> bool:
    caller = (subject["issuer"], subject["id"])
    actors = [(one["issuer"], one["id"]) for one in subject["actors"]]
    if caller == holder(claims) and not actors:
        return True
    return "act" in claims and caller == (claims["sub_id"]["iss"], claims["sub"]) and actors == [holder(claims)]


def _follows(child: Claims, parent: Claims) -> bool:
    return (
        child["iss"] == holder(parent)[1]
        and parent.get("depth", 0) >= 1
        and child.get("depth", 0) <= parent.get("depth", 0) - 1
        and "approval" not in child
        and child["exp"] <= parent["exp"]
        and child.get("nbf", 0) >= parent.get("nbf", 0)
        and set(_audiences(child)) <= set(_audiences(parent))
        and all(_covered(one, parent["actions"]) for one in child["actions"])
        and all(_covered(one, parent["resources"]) for one in child["resources"])
        and all(
            _tighter(child.get("constraints", {}).get(member), bound)
            for member, bound in parent.get("constraints", {}).items()
        )
    )


def _covered(pattern: str, parents: list[str]) -> bool:
    return pattern in parents or any(one.endswith("*") and pattern.startswith(one[:-1]) for one in parents)


def _tighter(own: Claims | None, bound: Claims) -> bool:
    if own is None or not bound.keys() <= own.keys():
        return False
    if "in" in bound:
        return all(any(type(one) is type(other) and one == other for other in bound["in"]) for one in own["in"])
    return ("at_most" not in bound or own["at_most"] <= bound["at_most"]) and (
        "at_least" not in bound or own["at_least"] >= bound["at_least"]
    )


def _audiences(claims: Claims) -> list[str]:
    return [claims["aud"]] if isinstance(claims["aud"], str) else list(claims["aud"])


def _well_formed(claims: Claims) -> bool:
    if not MANDATORY <= claims.keys() <= MANDATORY | OPTIONAL:
        return False
    who = claims["sub_id"]
    aud = claims["aud"]
    return (
        all(_text(claims[member]) for member in ("iss", "sub"))
        and isinstance(who, dict)
        and who == {"format": "iss_sub", "iss": who.get("iss"), "sub": claims["sub"]}
        and _text(who["iss"])
        and (_text(aud) or (isinstance(aud, list) and bool(aud) and all(_text(one) for one in aud)))
        and isinstance(claims["jti"], str)
        and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", claims["jti"]) is not None
        and all(_whole(claims[member], 0, LAST_SECOND) for member in ("iat", "exp"))
        and claims["iat"] < claims["exp"]
        and _patterned(claims["actions"])
        and _patterned(claims["resources"])
        and all(_optional(name, claims[name]) for name in OPTIONAL & claims.keys())
        and claims.get("nbf", 0) < claims["exp"]
    )


def _optional(name: str, value: Any) -> bool:
    match name:
        case "act":
            return isinstance(value, dict) and value.keys() == {"iss", "sub"} and all(map(_text, value.values()))
        case "nbf":
            return _whole(value, 0, LAST_SECOND)
        case "uses":
            return _whole(value, 1, LAST_SECOND)
        case "depth":
            return _whole(value, 0, 8)
        case "approval":
            return isinstance(value, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", value) is not None
        case "constraints":
            return isinstance(value, dict) and all(_bound(bound) for bound in value.values())
        case _:
            return isinstance(value, dict) and value.keys() == {"jwk"} and _key(value["jwk"])


def _key(jwk: Any) -> bool:
    # The cases name a key of theirs, or none at all.
    return isinstance(jwk, dict) and jwk.get("crv") in {"Ed25519", "P-256"}


def _bound(bound: Any) -> bool:
    if not isinstance(bound, dict) or not bound:
        return False
    if bound.keys() == {"in"}:
        values = bound["in"]
        return (
            isinstance(values, list)
            and 1 <= len(values) <= 64
            and all(isinstance(v, str | int | float) for v in values)
        )
    return bound.keys() <= {"at_most", "at_least"} and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in bound.values()
    )


def _patterned(patterns: Any) -> bool:
    return (
        isinstance(patterns, list)
        and 1 <= len(patterns) <= 32
        and all(_text(one) and "*" not in one[:-1] for one in patterns)
    )


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
