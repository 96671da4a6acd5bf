"""Issuers and tokens that are put before both a real OPA and the control plane's own reading of identities."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy
from sqlmodel import Session, SQLModel

from app.control import identity_tokens
from app.control.issuer_keys import vet
from app.control.store import DomainLink, Issuer
from app.core.errors import Denied
from bench import stand

OIDC = stand.Issuer()
PEOPLE = stand.Issuer("https://people.example", kid="h1")
SVIDS = stand.Issuer("spiffe://example.org", kid="s1")
CLUSTER = stand.Issuer("https://kubernetes.default.svc", kid="c1")
PARTNER = stand.Issuer("https://issuer.partner.example", kid="p1")
FOREIGN = stand.Issuer("https://issuer.foreign.example", kid="f1")
SHORT = stand.Issuer("https://short.example", kid="t1")
KEYLESS = stand.Issuer("https://keyless.example", kid="n1")
NOBODY = stand.Issuer("https://nobody.example", kid="x1")

WEB = "spiffe://example.org/web"
TRUSTED: dict[str, Any] = {
    OIDC.name: OIDC.trusted(),
    PEOPLE.name: PEOPLE.trusted("payments", "ledger", names=""),
    SVIDS.name: SVIDS.trusted() | {"kind": "spiffe"},
    CLUSTER.name: CLUSTER.trusted(names="system:serviceaccount:") | {"kind": "kubernetes"},
    PARTNER.name: PARTNER.trusted(names="", domain="partner.example"),
    FOREIGN.name: FOREIGN.trusted(names="", domain="foreign.example"),
    SHORT.name: SHORT.trusted(names="s"),
    KEYLESS.name: KEYLESS.trusted(names="") | {"keys": {}},
}
ISSUERS = [OIDC, PEOPLE, SVIDS, CLUSTER, PARTNER, FOREIGN, SHORT, KEYLESS, NOBODY]
#: Who each of them usually vouches for.
USUAL = {
    OIDC.name: WEB, PEOPLE.name: "ann", SVIDS.name: WEB, CLUSTER.name: "system:serviceaccount:shop:web",
    PARTNER.name: "bo", FOREIGN.name: "cy", SHORT.name: "sue",
}  # fmt: skip

#: Says who asks, and allows.
ECHO = {"app/authz.rego": 'package app.authz\n\ndecision := {"allow": true}\n'}


class Both:
    """A real OPA and the control plane's own reading, with the same trust."""

    def __init__(self, opa: stand.Server) -> None:
        self.opa = opa
        self.max_age: int | None = None
        self.session = Session(sqlalchemy.create_engine("sqlite://"))

    def trust(self, state: dict[str, Any], links: tuple[str, ...] = ()) -> None:
        """Write the trust state to OPA, and its issuers to the control plane."""
        self.opa.write(state)
        self.max_age = state["trust"]["max_identity_age_seconds"]
        SQLModel.metadata.drop_all(self.session.connection())
        SQLModel.metadata.create_all(self.session.connection())
        for name, one in state["trust"]["issuers"].items():
            keys = [key for held in one["keys"].values() for key in json.loads(held["jwks"])["keys"]]
            domain = "" if one["domain"] == stand.DOMAIN else one["domain"]
            row = Issuer(issuer=name, audiences=one["audiences"], kind=one["kind"], domain=domain, names=one["names"])
            row.keys = vet({"keys": keys}) if keys else {}
            self.session.add(row)
        for link in links:
            self.session.add(DomainLink(domain=link, signer="", warrant_keys={}, attestation_keys={}, added_by="test"))
        self.session.flush()

    def by_opa(self, token: str) -> Any:
        """Who asks by a decision, or the code about the identity that stands first in it."""
        decision = self.opa.decide(stand.request(token))
        codes = [one["code"] for one in decision["reasons"] if one["code"].startswith("identity.")]
        if codes:
            return codes[0]
        found = decision["subject"]
        return (found["issuer"], found["id"], found["domain"], [(one["issuer"], one["id"]) for one in found["actors"]])

    def by_us(self, token: str) -> Any:
        """The same by the control plane."""
        own = f"spiffe://{stand.DOMAIN}/control-plane"
        try:
            found = identity_tokens.verify(
                self.session, stand.DOMAIN, token, also_for=own, max_age=self.max_age, what="token"
            )
        except Denied as denied:
            return str(denied.reason)
        return (found.who.issuer, found.who.id, found.domain, [(one.issuer, one.id) for one in found.actors])


def token(issuer: stand.Issuer, header: Any = None, *, key: stand.Issuer | None = None, **changes: Any) -> str:
    """A token of an issuer, in which members of header and claims are replaced; `...` leaves one out."""
    head = {"alg": "EdDSA", "kid": issuer.kid, "typ": "JWT"} | (header or {})
    body = issuer.claims(sub=USUAL.get(issuer.name, "x")) | changes
    parts = ({name: one for name, one in part.items() if one is not ...} for part in (head, body))
    return (key or issuer).sign(*parts)


def signed(issuer: stand.Issuer, head: bytes, body: bytes) -> str:
    """A token of these very bytes."""
    text = f"{stand._base64url(head)}.{stand._base64url(body)}"
    return f"{text}.{stand._base64url(issuer.key.sign(text.encode()))}"
