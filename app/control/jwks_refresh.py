"""Issuers' key sets are fetched again in the background, so that their rotations need nobody here.

A failure keeps the keys that are known until they are too old; then publication leaves them out, whatever this does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlmodel import Session, select

from app.control import issuer_keys, issuers
from app.control.issuer_keys import IssuerKeys
from app.control.outbound import Outbound, Unfetched
from app.control.plane import Plane
from app.control.problems import Invalid, NotFound, Problem
from app.control.rounds import THREADS, Rounds
from app.control.store import Issuer, IssuerSource
from app.control.store.columns import now
from app.core import strict_json
from app.core.complaint import printable

log = logging.getLogger("placet.control")

#: Seconds between two looks at what is due; how many are asked at a time.
INTERVAL = 1.0
_AT_ONCE = 4
#: Seconds until a failed fetch is tried again, when the usual interval is longer.
_RETRY = 60
_DISCOVERY = "/.well-known/openid-configuration"
_MAX_REFUSED = 32


@dataclass(frozen=True)
class Fetched:
    """Keys that a source gave; None: the ones that are known. `refused` says which keys were left out, and why."""

    uri: str
    keys: IssuerKeys | None
    etag: str | None
    refused: list[str]


def fetch(
    outbound: Outbound, issuer: str, kind: str, source: issuers.Source, known: tuple[str, str | None] = ("", None)
) -> Fetched:
    """Ask a source for its keys, unless they are still those of the address and ETag in `known`. Raises `Problem`."""
    uri = source.uri or _discover(outbound, issuer, source.ca)
    answer = outbound.get(uri, ca=source.ca, etag=known[1] if uri == known[0] else None)
    if answer.body is None:
        return Fetched(uri, None, answer.etag, [])
    try:
        document = strict_json.load_object(answer.body)
    except strict_json.StrictJSONError as error:
        raise Unfetched(f"{uri} did not answer with a key set: {error}") from error
    keys, refused = usable(document, kind, source.pins)
    return Fetched(uri, keys, answer.etag, refused)


def usable(document: Mapping[str, Any], kind: str, pins: Sequence[str]) -> tuple[IssuerKeys, list[str]]:
    """The keys of a fetched set that are pinned (or all, without pins) and usable, and what was left out.

    Keys of other uses than signatures are none of ours. A private key in the set refuses all of it: its holder leaked.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or not 1 <= len(listed) <= issuer_keys.MAX_KEYS + issuer_keys.MAX_ROOTS:
        raise Unfetched("the key set has no list keys, or too many of them")
    if any(isinstance(one, Mapping) and one.keys() & {"d", "k", "p", "q"} for one in listed):
        raise Unfetched("the key set holds a private or symmetric key: its issuer must replace it")
    keys: dict[str, dict[str, Any]] = {}
    roots: list[str] = []
    refused: list[str] = []
    for one in listed:
        if not isinstance(one, Mapping) or one.get("use", "sig") not in ("sig", "jwt-svid", "x509-svid"):
            continue
        try:
            found = _take(one, kind)
        except Invalid as error:
            refused.append(printable(f"{str(one.get('kid', ''))[:60]}: {error}"))
            continue
        for key in found.keys.values():
            if pins and issuer_keys.thumbprint(key) not in pins:
                refused.append(f"{key['kid']}: not pinned, its thumbprint is {issuer_keys.thumbprint(key)}")
            elif key["kid"] in keys:
                raise Unfetched(f"the kid {key['kid']} stands twice in the key set")
            else:
                keys[key["kid"]] = key
        for root in found.x509_roots:
            if pins and issuer_keys.root_thumbprint(root) not in pins:
                refused.append(f"an X.509 root: not pinned, its thumbprint is {issuer_keys.root_thumbprint(root)}")
            else:
                roots.append(root)
    if not keys and not roots:
        raise Unfetched(f"no key of the set can be used: {'; '.join(refused)[:400] or 'none is for signatures'}")
    if len(keys) > issuer_keys.MAX_KEYS or len(roots) > issuer_keys.MAX_ROOTS:
        raise Unfetched("the key set is too large")
    return IssuerKeys(keys, list(dict.fromkeys(roots))), refused[:_MAX_REFUSED]


def _take(key: Mapping[str, Any], kind: str) -> IssuerKeys:
    """One key of a set. Only a SPIFFE bundle says `jwt-svid` and `x509-svid`, and only those count there."""
    if kind == "spiffe":
        return issuer_keys.split_bundle({"keys": [key]})
    return IssuerKeys(issuer_keys.vet({"keys": [key]}), [])


def _discover(outbound: Outbound, issuer: str, ca: str | None) -> str:
    """The address of the key set, as the issuer's own document says (OpenID Connect Discovery 1.0, section 4)."""
    address = issuer.rstrip("/") + _DISCOVERY
    answer = outbound.get(address, ca=ca)
    try:
        document = strict_json.load_object(answer.body or b"")
    except strict_json.StrictJSONError as error:
        raise Unfetched(f"{address} did not answer with a discovery document: {error}") from error
    if document.get("issuer") != issuer:
        raise Unfetched(f"{address} is about the issuer {str(document.get('issuer'))[:200]!r}, not {issuer!r}")
    uri = document.get("jwks_uri")
    if not isinstance(uri, str):
        raise Unfetched(f"{address} names no jwks_uri")
    return uri


def refresh(plane: Plane, issuer: str) -> None:
    """Fetch an issuer's keys now. What comes of it stands in its row; raises `NotFound` and database errors alone."""
    with plane.store.read() as session:
        row, source = _of(session, issuer)
    asked = issuers.Source(
        "" if source.discovered else source.uri,
        source.pins,
        source.ca,
        source.refresh_seconds,
        source.max_age_seconds,
    )
    try:
        fetched = fetch(plane.outbound, row.issuer, row.kind, asked, (source.uri, source.etag))
    except Problem as problem:
        plane.metrics.issuer_failures.labels(issuer).inc()
        log.warning("cannot refresh the keys of %s: %s", issuer, problem)
        _note(plane, source, issuer, str(problem))
        return
    known = IssuerKeys(row.keys, row.x509_roots)
    if fetched.keys in (None, known) and not issuers.is_withdrawn(row, source):
        _note(plane, source, issuer, None, fetched)
        return
    try:
        # Keys that were withdrawn and count again need room, as new ones do.
        same = replace(fetched, keys=known, refused=source.refused)
        _take_over(plane, source, issuer, fetched if fetched.keys else same)
    except Problem as problem:  # the state would grow too large for sidecars
        log.warning("cannot publish the keys of %s: %s", issuer, problem)
        _note(plane, source, issuer, str(problem))


def _take_over(plane: Plane, before: IssuerSource, issuer: str, fetched: Fetched) -> None:
    assert fetched.keys is not None
    with plane.publishing() as session:
        row, source = session.get(Issuer, before.issuer), _unchanged(session, before, issuer)
        if row is None or source is None:
            return
        row.keys, row.x509_roots, row.changed_at = fetched.keys.keys, fetched.keys.x509_roots, now()
        _succeeded(source, fetched)
        session.add_all([row, source])
    log.info("new keys of %s: %s", row.issuer, ", ".join(fetched.keys.keys) or "X.509 roots alone")


def _note(plane: Plane, before: IssuerSource, issuer: str, trouble: str | None, fetched: Fetched | None = None) -> None:
    with plane.store.write() as session:
        source = _unchanged(session, before, issuer)
        if source is None:
            return
        source.tried_at, source.trouble = now(), trouble and printable(trouble)[:1000]
        if fetched is not None:
            _succeeded(source, fetched)
        session.add(source)


def _succeeded(source: IssuerSource, fetched: Fetched) -> None:
    source.tried_at = source.fetched_at = now()
    source.trouble, source.uri, source.etag = None, fetched.uri, fetched.etag
    if fetched.keys is not None:
        source.refused = fetched.refused


def _of(session: Session, issuer: str) -> tuple[Issuer, IssuerSource]:
    row = issuers.find(session, issuer)
    source = session.get(IssuerSource, row.id) if row else None
    if row is None or source is None:
        raise NotFound(f"there is no issuer {issuer} whose keys are fetched")
    return row, source


def _unchanged(session: Session, before: IssuerSource, issuer: str) -> IssuerSource | None:
    """The source as it stands now; None when somebody replaced or removed it while it was asked.

    A database may use the number of a row again, so the issuer's name is compared too.
    """
    row = session.get(Issuer, before.issuer)
    source = session.get(IssuerSource, before.issuer, with_for_update=True)
    if row is None or row.issuer != issuer or source is None:
        return None
    if (source.discovered, source.pins, source.ca) != (before.discovered, before.pins, before.ca):
        return None
    return source if source.discovered or source.uri == before.uri else None


class Refreshing:
    """A thread that keeps the keys of issuers fresh."""

    def __init__(self, plane: Plane, interval: float = INTERVAL) -> None:
        self._plane = plane
        self._rounds = Rounds("issuer keys", interval, self._refresh_due, "refresh the keys of issuers")
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"{THREADS}fetch")

    def start(self) -> None:
        """Go on in the background."""
        self._rounds.start()

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        self._rounds.stop()
        self._pool.shutdown()

    def _refresh_due(self) -> None:
        list(self._pool.map(self._refresh, claim_due(self._plane)))

    def _refresh(self, issuer: str) -> None:
        if not self._rounds.stopping.is_set():
            try:
                refresh(self._plane, issuer)
            except NotFound:
                log.info("%s was removed while its keys were to be refreshed", issuer)


def claim_due(plane: Plane) -> list[str]:
    """The issuers whose keys are to be fetched now; another process of this control plane then leaves them alone."""
    with plane.store.read() as session:
        if not any(_is_due(source) for source in issuers.sources(session).values()):
            return []
    with plane.store.write() as session:
        query = select(IssuerSource).with_for_update(skip_locked=True)
        due = {source.issuer: source for source in session.exec(query) if _is_due(source)}
        for source in due.values():
            source.tried_at = now()
            session.add(source)
        return [row.issuer for row in issuers.listed(session) if row.id in due]


def _is_due(source: IssuerSource) -> bool:
    wait = min(source.refresh_seconds, _RETRY) if source.trouble else source.refresh_seconds
    return source.tried_at is None or now() - source.tried_at >= timedelta(seconds=wait)
