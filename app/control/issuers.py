"""Issuers of workload identities: whose tokens sidecars accept, for which audiences and names, under which keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from sqlmodel import Session, select

from app.control import issuer_keys
from app.control.issuer_keys import IssuerKeys
from app.control.problems import Invalid, NotFound
from app.control.store import Issuer, IssuerSource
from app.control.store.columns import now
from app.core import loopback
from app.core.letter_case import lowered

Kind = Literal["oidc", "kubernetes", "spiffe"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Seconds between two fetches of an issuer's keys, and after which keys that could not be fetched are withdrawn.
REFRESH = 300
MAX_AGE = 86400

_KUBERNETES = "system:serviceaccount:"
_SPIFFE = "spiffe://"


@dataclass(frozen=True)
class Source:
    """Where keys are fetched from, see `IssuerSource`. `uri` empty: the issuer's discovery document says."""

    uri: str = ""
    pins: Sequence[str] = ()
    ca: str | None = None
    refresh_seconds: int = REFRESH
    max_age_seconds: int = MAX_AGE


@dataclass(frozen=True)
class Trust:
    """What is trusted: an issuer, for what, and its keys."""

    issuer: str
    audiences: Sequence[str]
    kind: Kind = "oidc"
    domain: str = ""
    names: str = ""
    keys: IssuerKeys = field(default_factory=lambda: IssuerKeys({}, []))
    source: Source | None = None


def checked(trust: Trust, home: str) -> Trust:
    """`trust` with what its kind implies, for a control plane of the domain `home`. Raises `Invalid`."""
    domain, names = trust.domain or home, trust.names
    if trust.kind == "oidc":
        _require_url(trust.issuer)
    if trust.kind == "spiffe":
        own = trust.issuer.removeprefix(_SPIFFE)
        if not trust.issuer.startswith(_SPIFFE) or "/" in own or not own:
            raise Invalid("an issuer of kind spiffe is a trust domain's id, such as spiffe://example.org")
        if trust.domain not in {"", own} or names not in {"", f"{trust.issuer}/"}:
            raise Invalid(f"{trust.issuer} vouches for its own domain and nothing else; leave --domain and --names out")
        domain, names = own, f"{trust.issuer}/"
    elif trust.kind == "kubernetes":
        names = names or _KUBERNETES
        if not names.startswith(_KUBERNETES):
            raise Invalid(f"names of kind kubernetes begin with {_KUBERNETES}")
    elif lowered(names).startswith("spiffe:") and not names.startswith(f"{_SPIFFE}{domain}/"):
        raise Invalid(
            f"names must begin with {_SPIFFE}{domain}/: the issuer vouches for its own domain alone (--domain)"
        )
    elif lowered(names).startswith(_KUBERNETES):
        raise Invalid("such names belong to an issuer of kind kubernetes")
    if trust.keys.x509_roots and trust.kind != "spiffe":
        raise Invalid("X.509 roots belong to an issuer of kind spiffe")
    if trust.source is None and not trust.keys.keys and not trust.keys.x509_roots:
        raise Invalid("the issuer has no keys")
    stored = "" if domain == home else domain
    return replace(trust, audiences=list(dict.fromkeys(trust.audiences)), domain=stored, names=names)


def _require_url(issuer: str) -> None:
    """OpenID Connect Core, section 2: an https URL without query and fragment. Plain http is this machine's alone."""
    if issuer.startswith(_SPIFFE):
        raise Invalid(f"{issuer} is the id of a trust domain: add it with the kind spiffe (--kind spiffe)")
    try:
        parts = urlsplit(issuer)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Invalid(f"the issuer {issuer} is no URL") from error
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in loopback.NAMES)
    if not secure or not host or parts.username is not None or set(issuer) & set("?# ") or not issuer.isprintable():
        raise Invalid(
            f"the issuer {issuer} must be an https URL without user, query and fragment, "
            "such as https://tokens.example.org, as its tokens have it in iss"
        )


def with_keys(trust: Trust, keys: IssuerKeys) -> Trust:
    """`trust` with the keys that its source gave. Raises `Invalid`."""
    if keys.x509_roots and trust.kind != "spiffe":
        raise Invalid("X.509 roots belong to an issuer of kind spiffe")
    return replace(trust, keys=keys)


def sharing(row: Issuer, rows: Iterable[Issuer]) -> list[str]:
    """The other issuers of its trust domain that may give names which it may give, too, when one of the two is bound to
    names at all. Subjects are told apart by issuer; a policy that looks at the name alone does not do so.
    """
    return [
        other.issuer
        for other in rows
        if other.issuer != row.issuer and other.domain == row.domain and _overlap(row.names, other.names)
    ]


def _overlap(one: str, other: str) -> bool:
    if one and other:
        return one.startswith(other) or other.startswith(one)
    # Without names an issuer may give all but those of workloads.
    bound = one or other
    return bound != "" and not bound.startswith((_SPIFFE, _KUBERNETES))


def put(
    session: Session, trust: Trust, *, uri: str = "", etag: str | None = None, refused: Sequence[str] = ()
) -> tuple[Issuer, bool]:
    """Trust an issuer, replacing what was known of it, and whether it is new. `trust` is `checked`.

    With a source the keys were fetched just now, from `uri`; `etag` and `refused` are what came with them.
    """
    found = find(session, trust.issuer)
    row = found or Issuer(issuer=trust.issuer, audiences=[], keys={})
    row.audiences, row.kind, row.domain, row.names = list(trust.audiences), trust.kind, trust.domain, trust.names
    row.keys, row.x509_roots, row.changed_at = trust.keys.keys, trust.keys.x509_roots, now()
    session.add(row)
    session.flush()
    _drop_source(session, row)
    if trust.source is not None:
        assert row.id is not None
        at = row.changed_at
        session.add(
            IssuerSource(
                issuer=row.id,
                uri=uri,
                discovered=not trust.source.uri,
                pins=list(dict.fromkeys(trust.source.pins)),
                ca=trust.source.ca,
                refresh_seconds=trust.source.refresh_seconds,
                max_age_seconds=trust.source.max_age_seconds,
                etag=etag,
                tried_at=at,
                fetched_at=at,
                refused=list(refused),
            )
        )
        session.flush()
    return row, found is None


def remove(session: Session, issuer: str) -> None:
    """Trust an issuer no longer: its tokens are denied from the next state on."""
    found = find(session, issuer)
    if found is None:
        raise NotFound(f"the issuer {issuer} is not trusted")
    _drop_source(session, found)
    session.delete(found)
    session.flush()


def find(session: Session, issuer: str) -> Issuer | None:
    """The issuer of that name."""
    return session.exec(select(Issuer).where(Issuer.issuer == issuer)).first()


def listed(session: Session) -> list[Issuer]:
    """Every trusted issuer, by name."""
    return list(session.exec(select(Issuer).order_by(Issuer.issuer)))


def sources(session: Session) -> dict[int, IssuerSource]:
    """Where keys are fetched from, by the issuer's row."""
    return {source.issuer: source for source in session.exec(select(IssuerSource))}


def age(row: Issuer, source: IssuerSource | None) -> timedelta:
    """How old the keys are: since they were given, or last confirmed by their source."""
    known: datetime = (source.fetched_at if source else None) or row.changed_at
    return max(now() - known, timedelta(0))


def is_withdrawn(row: Issuer, source: IssuerSource | None) -> bool:
    """Whether the keys are too old to count: nothing of the issuer is published then but its name."""
    return source is not None and age(row, source) >= timedelta(seconds=source.max_age_seconds)


def keys_in_force(session: Session, row: Issuer) -> dict[str, dict[str, Any]]:
    """The keys that count now, by key id; none once they are too old."""
    return {} if is_withdrawn(row, session.get(IssuerSource, row.id)) else row.keys


def condition(row: Issuer, source: IssuerSource | None) -> str:
    """`static`, `fresh`, `failing` (its source does not give usable keys, the old ones still count) or `withdrawn`."""
    if source is None:
        return "static"
    if is_withdrawn(row, source):
        return "withdrawn"
    return "failing" if source.trouble else "fresh"


def given_keys(kind: Kind, document: Mapping[str, Any] | None, roots_pem: str | None) -> IssuerKeys:
    """The keys that somebody gave by hand. Raises `Invalid`."""
    keys = IssuerKeys({}, [])
    if document is not None:
        is_bundle = kind == "spiffe" and issuer_keys.is_bundle(document)
        keys = issuer_keys.split_bundle(document) if is_bundle else IssuerKeys(issuer_keys.vet(document), [])
    roots = issuer_keys.read_roots(roots_pem) if roots_pem else []
    return IssuerKeys(keys.keys, list(dict.fromkeys(keys.x509_roots + roots)))


def _drop_source(session: Session, row: Issuer) -> None:
    source = session.get(IssuerSource, row.id)
    if source is not None:
        session.delete(source)
        session.flush()
