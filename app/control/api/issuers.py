"""`/api/v1/issuers`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cryptography.x509 import load_pem_x509_certificate
from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints

from app.control import issuer_keys, issuers, jwks_refresh
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Text
from app.control.issuers import MAX_AGE, REFRESH, Kind, Source, Trust
from app.control.plane import Plane
from app.control.problems import Invalid, NotFound
from app.control.store import Issuer, IssuerSource
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/issuers", tags=["issuers"])

Pem = Annotated[str, StringConstraints(min_length=1, max_length=65536)]
#: A JWK thumbprint (RFC 7638), or `x5t#S256` for a root: base64url of a SHA-256.
Pin = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]


class NewIssuer(Body):
    """An issuer of workload identities: the audiences that its tokens must name, and its keys or where they are.

    Keys: one of `jwks` (RFC 7517, or a SPIFFE bundle), `jwks_uri`, and `discover`; of kind spiffe also `x509_roots`.
    """

    issuer: Text
    audiences: Annotated[list[Text], Field(min_length=1, max_length=32)]
    kind: Kind = "oidc"
    #: The trust domain on whose behalf it vouches; none: this control plane's own.
    domain: Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,255}$")] | None = None
    #: Every subject that it vouches for begins so.
    names: Text | None = None
    jwks: dict[str, Any] | None = None
    #: Certificates in PEM.
    x509_roots: Pem | None = None
    jwks_uri: Text | None = None
    discover: bool = False
    pins: Annotated[list[Pin], Field(default_factory=list, max_length=32)]
    #: A CA in PEM that alone vouches for the server of the keys.
    ca: Pem | None = None
    refresh_seconds: Annotated[int, Field(ge=1, le=86400)] = REFRESH
    max_age_seconds: Annotated[int, Field(ge=2, le=30 * 86400)] = MAX_AGE

    def trust(self, home: str) -> Trust:
        """What is to be trusted; its source was not asked yet. Raises `Invalid`."""
        if [self.jwks is not None, self.jwks_uri is not None, self.discover].count(True) > 1:
            raise Invalid("give one of jwks, jwks_uri and discover")
        fetched = self.jwks_uri is not None or self.discover
        if not fetched and (self.pins or self.ca):
            raise Invalid("pins and a CA are for keys that are fetched: give jwks_uri or discover")
        if fetched and self.x509_roots:
            raise Invalid("X.509 roots come with the SPIFFE bundle that is fetched; leave x509_roots out")
        if self.max_age_seconds <= self.refresh_seconds:
            raise Invalid("the keys' age limit must be longer than the time between two refreshes")
        if self.ca is not None:
            issuer_keys.read_authorities(self.ca)
        source = Source(self.jwks_uri or "", self.pins, self.ca, self.refresh_seconds, self.max_age_seconds)
        keys = issuers.given_keys(self.kind, self.jwks, self.x509_roots)
        return issuers.checked(
            Trust(
                self.issuer,
                self.audiences,
                self.kind,
                self.domain or "",
                self.names or "",
                keys,
                source if fetched else None,
            ),
            home,
        )


def show(row: Issuer, source: IssuerSource | None, home: str, rows: Sequence[Issuer]) -> dict[str, Any]:
    """An issuer as the API shows it, among all of them."""
    return {
        "issuer": row.issuer,
        "kind": row.kind,
        "domain": row.domain or home,
        "names": row.names,
        "shares_names_with": issuers.sharing(row, rows),
        "audiences": row.audiences,
        "condition": issuers.condition(row, source),
        "key_age_seconds": int(issuers.age(row, source).total_seconds()),
        "keys": [key | {"thumbprint": issuer_keys.thumbprint(key)} for key in row.keys.values()],
        "x509_roots": [_root(pem) for pem in row.x509_roots],
        "source": _source(source) if source else None,
        "changed_at": row.changed_at.isoformat(),
    }


def _source(source: IssuerSource) -> dict[str, Any]:
    return {
        "uri": source.uri,
        "discovered": source.discovered,
        "pins": source.pins,
        "ca": source.ca is not None,
        "refresh_seconds": source.refresh_seconds,
        "max_age_seconds": source.max_age_seconds,
        "tried_at": source.tried_at.isoformat() if source.tried_at else None,
        "fetched_at": source.fetched_at.isoformat() if source.fetched_at else None,
        "trouble": source.trouble,
        "refused": source.refused,
    }


def _root(pem: str) -> dict[str, str]:
    certificate = load_pem_x509_certificate(pem.encode())
    return {
        "subject": certificate.subject.rfc4514_string(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "thumbprint": issuer_keys.root_thumbprint(pem),
    }


@router.get("")
def list_issuers(plane: PlaneOf, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """Every trusted issuer, with the age of its keys."""
    with plane.store.read() as session:
        sources = issuers.sources(session)
        rows = issuers.listed(session)
        return [show(row, sources.get(row.id or 0), plane.settings.domain, rows) for row in rows]


@router.post("", status_code=201)
def put_issuer(
    plane: PlaneOf, body: NewIssuer, response: Response, access: Annotated[Access, by(Scope.ISSUER_WRITE)]
) -> dict[str, Any]:
    """Trust an issuer, or replace what is known of it (200). It is published when this answers.

    Keys that are fetched are fetched now: an address that does not give them is not kept. Naming an address that
    this server then asks needs the scope admin.
    """
    trust = body.trust(plane.settings.domain)
    came: dict[str, Any] = {}
    if trust.source is not None:
        access.require(Scope.ADMIN)
        fetched = jwks_refresh.fetch(plane.outbound, trust.issuer, trust.kind, trust.source)
        assert fetched.keys is not None  # nothing was known before
        trust = issuers.with_keys(trust, fetched.keys)
        came = {"uri": fetched.uri, "etag": fetched.etag, "refused": fetched.refused}
    with plane.publishing() as session:
        row, new = issuers.put(session, trust, **came)
        source = issuers.sources(session).get(row.id or 0)
        shown = show(row, source, plane.settings.domain, issuers.listed(session))
    response.status_code = 201 if new else 200
    return shown


@router.post("/refresh")
def refresh_issuer(plane: PlaneOf, issuer: str, _: Annotated[Access, by(Scope.ISSUER_WRITE)]) -> dict[str, Any]:
    """Fetch an issuer's keys now. What was wrong, if anything, stands in `source.trouble`."""
    jwks_refresh.refresh(plane, issuer)
    return _find(plane, issuer)


@router.delete("", status_code=204)
def remove_issuer(plane: PlaneOf, issuer: str, _: Annotated[Access, by(Scope.ISSUER_WRITE)]) -> None:
    """Trust an issuer no longer; it is published when this answers."""
    with plane.publishing() as session:
        issuers.remove(session, issuer)


def _find(plane: Plane, issuer: str) -> dict[str, Any]:
    with plane.store.read() as session:
        row = issuers.find(session, issuer)
        if row is None:
            raise NotFound(f"the issuer {issuer} is not trusted")
        source = issuers.sources(session).get(row.id or 0)
        return show(row, source, plane.settings.domain, issuers.listed(session))
