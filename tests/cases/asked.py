"""What the input cases start from: requests that would be allowed, and tokens as no library would write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bench.world import ATTESTER, OIDC, SUPPORT, WARRANTS, Key, World, base64url, hop, request

#: Holders of warrants, from the root's down.
HOLDERS = [Key(f"holder-{n}") for n in range(9)]


def by(token: Any, **members: Any) -> dict[str, Any]:
    """A good request by whoever the token names."""
    return request(identity={"token": token}, **members)


def identity(world: World, header: Mapping[str, Any] | None = None, **claims: Any) -> dict[str, Any]:
    """A request whose identity token was signed with this header and these claims; None leaves one out."""
    return by(resigned(world.keys[OIDC], world.identity(), header, claims))


def warrant(world: World, header: Mapping[str, Any] | None = None, **claims: Any) -> dict[str, Any]:
    """A request with a root warrant of this header and these claims."""
    return by(world.identity(), warrant=[resigned(world.keys[WARRANTS], world.warrant(), header, claims)])


def delegated(world: World, **claims: Any) -> dict[str, Any]:
    """A request with a warrant that somebody delegated to the caller, with these claims."""
    root = world.warrant(sub="spiffe://example.org/lead", depth=1, cnf={"jwk": HOLDERS[0].jwk})
    child = world.claims(jti="w-2", iss="spiffe://example.org/lead", **claims)
    return by(world.identity(), warrant=[root, hop(child, HOLDERS[0])])


def proven(world: World, **claims: Any) -> dict[str, Any]:
    """A request with a warrant that is bound to a key, and a proof of these claims."""
    asked = by(world.identity(), warrant=[world.warrant(cnf={"jwk": HOLDERS[0].jwk})])
    return asked | {"proof": world.proof(HOLDERS[0], asked, **claims)}


def inside(world: World, **claims: Any) -> dict[str, Any]:
    """A request inside an execution, whose token has these claims."""
    return request(execution={"id": "run-1", "token": world.execution(**claims)})


def summarised(world: World, header: Mapping[str, Any] | None = None, **claims: Any) -> dict[str, Any]:
    """A request with a verification summary about the caller's image, of this header and these claims."""
    good = world.keys[ATTESTER].sign(
        {
            **{name: value for name, value in decoded(about(world).split(".")[1]).items() if name != "submods"},
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "app", "digest": {"sha256": "ab" * 32}}],
            "predicateType": "https://slsa.dev/verification_summary/v1",
            "predicate": predicate(world),
        },
        typ="vsa+jwt",
    )
    return by(world.identity(), environment=[resigned(world.keys[ATTESTER], good, header, claims)])


def predicate(world: World, **changes: Any) -> dict[str, Any]:
    """What a verification summary says, with members replaced."""
    return {
        "verifier": {"id": ATTESTER},
        "timeVerified": datetime.fromtimestamp(world.now - 60, UTC).isoformat(),
        "resourceUri": "oci://registry.example.org/app",
        "policy": {"uri": "https://example.org/policy"},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
        **changes,
    }


def about(world: World, **changes: Any) -> str:
    """An attestation result about the caller."""
    return world.attestation(sub=SUPPORT, **changes)


def resigned(key: Key, token: str, header: Mapping[str, Any] | None, claims: Mapping[str, Any]) -> str:
    """The token with other members in header and claims, signed anew."""
    head, body = (decoded(part) for part in token.split(".")[:2])
    return key.sign_raw(json.dumps(changed(head, header or {})), json.dumps(changed(body, claims)))


def unsigned(token: str, header: Mapping[str, Any], signature: str = "") -> str:
    """The token with members of its header replaced and a signature that is not its own."""
    head = changed(decoded(token.split(".")[0]), header)
    return ".".join([base64url(json.dumps(head).encode()), token.split(".")[1], signature])


def changed(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The members with changes; None leaves one out."""
    return {name: value for name, value in (dict(members) | dict(changes)).items() if value is not None}


def decoded(part: str) -> Any:
    """A part of a token as JSON."""
    import base64

    return json.loads(base64.urlsafe_b64decode(part + "=="))


def raw(asked: Mapping[str, Any], old: str, new: str | bytes) -> bytes:
    """The request's body with a text in it replaced, as no serializer would write it."""
    body = json.dumps({"input": asked}).encode()
    found = old.encode()
    if body.count(found) != 1:
        raise ValueError(f"{old!r} is in the body {body.count(found)} times")
    return body.replace(found, new if isinstance(new, bytes) else new.encode())


__all__ = ["HOLDERS", "OIDC", "SUPPORT", "Key", "World", "by", "hop", "identity", "warrant"]
