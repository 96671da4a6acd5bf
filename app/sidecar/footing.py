"""What an execution rests on: who and what vouched for it when it started, as far as a trust state can take that away.

OPA looks at all of it once, at the start; the execution's own token cannot show it any more. So the agent keeps it, and
holds it against every trust state that comes, and against the newest one at each renewal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jwt

from app.core import x509_roots
from app.core.bundle import digest_of
from app.core.errors import Denied
from app.core.letter_case import lowered
from app.core.reason_codes import Reason
from app.core.strict_json import canonical

Footing = dict[str, Any]

#: Beginnings of names that no issuer of plain names may give.
_WORKLOADS = ("spiffe:", "system:serviceaccount:")


def of(claims: Mapping[str, Any], request: Mapping[str, Any], trust: Mapping[str, Any]) -> Footing:
    """Of an execution that OPA let start with these claims for its token, under this trust state or a newer one.

    Raises `Denied` for what cannot be told: an execution that nobody could stop must not start.
    """
    identity = request.get("identity") or {}
    via = claims.get("via")
    asking = via or {"issuer": claims["sub_iss"], "id": claims["sub"]}
    footing = {
        "subject": [claims["sub_iss"], claims["sub"]],
        "domain": claims["domain"],
        "asking": [asking["issuer"], asking["id"]],
        "grant": None if via is None else "assert-subject" if claims.get("asserted") else "forward-certificate",
        "actors": [[actor["issuer"], actor["id"]] for actor in claims["actors"]],
        "principals": claims["principals"],
        "domains": claims["domains"],
        "warrants": claims["warrants"],
        "key": None,
        "warrant": None,
    }
    if (token := identity.get("token")) is not None:
        header, said = _read(token)
        keys = trust["issuers"].get(asking["issuer"], {}).get("keys", {})
        audiences = said.get("aud", [])
        footing["key"] = _signed_by(keys, header.get("kid"))
        footing["audiences"] = [audiences] if isinstance(audiences, str) else audiences
        footing["issued"] = math.floor(said["iat"]) if "iat" in said else None
    if footing["grant"] == "forward-certificate":
        footing["roots"] = _roots(identity["certificate"], trust["x509"].get(claims["domain"], []))
    if claims.get("warrant_issuer") is not None:
        header, _ = _read(request["warrant"][0])
        keys = trust["warrant"]["issuers"].get(claims["warrant_issuer"], {}).get("keys", {})
        footing["warrant"] = {"issuer": claims["warrant_issuer"], "key": _signed_by(keys, header.get("kid"))}
    return footing


def name_of(footing: Footing) -> str:
    """What the execution's token calls it."""
    return digest_of(canonical(footing)).removeprefix("sha256:")[:32]


def lost(footing: Footing, trust: Mapping[str, Any], now: float) -> Reason | None:
    """Why a trust state does not admit any more what the execution rests on; None when it does."""
    return next(_losses(footing, trust, now), None)


def is_stale(footing: Footing, trust: Mapping[str, Any], now: float) -> bool:
    """Whether the identity is too old: the one thing that is lost by time alone, under the same trust state."""
    limit = trust["max_identity_age_seconds"]
    if limit is None or footing["key"] is None:
        return False
    return footing["issued"] is None or now > footing["issued"] + limit


def _losses(footing: Footing, trust: Mapping[str, Any], now: float) -> Iterator[Reason]:
    """All that is lost, in the order of the table of reasons."""
    yield from _of_identity(footing, trust, now)
    subjects, (issuer, subject) = trust["quarantine"]["subjects"], footing["subject"]
    if subject in subjects.get(issuer, {}):
        yield Reason.QUARANTINE_SUBJECT
    if any(name in subjects.get(issuer, {}) for issuer, name in footing["principals"]):
        yield Reason.QUARANTINE_ACTOR
    if any(domain in trust["quarantine"]["domains"] for domain in footing["domains"]):
        yield Reason.QUARANTINE_DOMAIN
    yield from _of_warrants(footing, trust)


def _of_identity(footing: Footing, trust: Mapping[str, Any], now: float) -> Iterator[Reason]:
    issuers, asking = trust["issuers"], footing["asking"]
    issuer = issuers.get(asking[0])
    if issuer is None or footing["subject"][0] not in issuers:
        yield Reason.IDENTITY_ISSUER_UNKNOWN
        return
    if footing["key"] is not None:
        yield from _of_key(footing["key"], issuer["keys"], Reason.IDENTITY_KEY_UNKNOWN, Reason.IDENTITY_INVALID)
        if not set(footing["audiences"]) & set(issuer["audiences"]):
            yield Reason.IDENTITY_AUDIENCE
        if is_stale(footing, trust, now):
            yield Reason.IDENTITY_STALE
    if not _vouched_for(footing, trust):
        yield Reason.IDENTITY_DOMAIN
    if footing["grant"] == "forward-certificate":
        held = {digest_of(root.encode()) for root in trust["x509"].get(footing["domain"], [])}
        if not held & set(footing["roots"]):
            yield Reason.IDENTITY_CERTIFICATE
    if footing["grant"] is not None:
        granted = trust["grants"].get(asking[0], {}).get(asking[1], {})
        if granted.get(footing["grant"]) is not True:
            yield Reason.IDENTITY_GRANT


def _vouched_for(footing: Footing, trust: Mapping[str, Any]) -> bool:
    """Whether the issuers may still give these names, of domains that are linked."""
    issuers, asking, subject = trust["issuers"], footing["asking"], footing["subject"]
    named = [asking, *footing["actors"]]
    if footing["grant"] == "assert-subject":
        named.append([asking[0], subject[1]])
    asker = issuers[asking[0]]
    # For whom a certificate is forwarded its roots vouch.
    return (
        issuers[subject[0]]["domain"] == footing["domain"]
        and _is_linked(footing["domain"], trust)
        and _is_linked(asker["domain"], trust)
        and all(issuer in issuers and _gives(issuers[issuer], name) for issuer, name in named)
        # An issuer names actors of its own trust domain alone.
        and all(issuers[issuer]["domain"] == asker["domain"] for issuer, _ in footing["actors"])
    )


def _is_linked(domain: str | None, trust: Mapping[str, Any]) -> bool:
    return domain == trust["domain"] or domain in trust["links"]


def _of_warrants(footing: Footing, trust: Mapping[str, Any]) -> Iterator[Reason]:
    root = footing["warrant"]
    issuer = trust["warrant"]["issuers"].get(root["issuer"]) if root else None
    if root and issuer is None:
        yield Reason.WARRANT_ISSUER_UNKNOWN
    elif root and issuer is not None:
        yield from _of_key(root["key"], issuer["keys"], Reason.WARRANT_KEY_UNKNOWN, Reason.WARRANT_INVALID)
    domains = [*footing["domains"], *([issuer["domain"]] if issuer else [])]
    holders = [trust["issuers"].get(issuer, {}).get("domain") for issuer, _ in footing["principals"]]
    if not all(_is_linked(domain, trust) for domain in (*domains, *holders)):
        yield Reason.WARRANT_DOMAIN
    if any(warrant in trust["warrant"]["revoked"] for warrant in footing["warrants"]):
        yield Reason.WARRANT_REVOKED


def _of_key(key: Mapping[str, Any], keys: Mapping[str, Any], unknown: Reason, other: Reason) -> Iterator[Reason]:
    """What is wrong with the key that signed: it may be gone, or another one may have its id."""
    if key["kid"] not in keys:
        yield unknown
    elif key != _signed_by(keys, key["kid"]):
        yield other


def _gives(issuer: Mapping[str, Any], name: str) -> bool:
    """Whether an issuer gives such names (`rego/placet/names.rego`; their form was looked at there)."""
    if not name.startswith(issuer["names"]):
        return False
    if issuer["names"].startswith("spiffe:"):
        return name.startswith(f"spiffe://{issuer['domain']}/")
    return bool(issuer["names"].startswith(_WORKLOADS)) or not lowered(name).startswith(_WORKLOADS)


def _signed_by(keys: Mapping[str, Any], kid: Any) -> dict[str, Any]:
    """A key by its id and its digest; without one where it is gone by now."""
    return {"kid": kid, "digest": _key_digest(tuple(keys[kid].items())) if kid in keys else None}


@lru_cache(maxsize=1024)  # thousands of executions rest on few keys
def _key_digest(members: tuple[tuple[str, str], ...]) -> str:
    return digest_of(canonical(dict(members)))


def _roots(chain: Sequence[str], roots: Sequence[str]) -> list[str]:
    """The digests of the roots under which a chain holds that OPA has verified."""
    found = [digest_of(root.encode()) for root in roots if x509_roots.issued(root, chain)]
    if not found:
        raise Denied(Reason.IDENTITY_CERTIFICATE, "none of the roots that are trusted now has issued it")
    return found


def _read(token: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that OPA has verified."""
    try:
        read = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, TypeError) as error:
        raise Denied(Reason.AGENT_FAILED, f"a token that OPA took cannot be read: {error}") from error
    return read["header"], read["payload"]
