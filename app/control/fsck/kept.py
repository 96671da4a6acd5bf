"""Rows besides those of records that follow from something signed: each column that evidence, a digest or another
column says."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from sigstore.models import Bundle as SigstoreBundle

from app.control import superseded
from app.control.fsck.finding import Finding, changed
from app.control.fsck.tables import Tables
from app.control.issuer_keys import thumbprint
from app.control.objects import Objects, is_key
from app.control.problems import NotFound
from app.control.publication import object_key, release_file
from app.control.sidecar_statement import payload_of
from app.control.store import Approval, Evidence, Mode, Release, SigningKey, Warrant
from app.control.store.as_stored import INSTANT, Row, as_bytes, instant
from app.core import strict_json
from app.core.bundle import parse_bundle
from app.core.errors import Denied
from app.core.evidence import claimed_signer, verify_evidence
from app.core.governance import audience_of, control_plane_id
from app.core.link_names import payload_digest
from app.core.modes import BREAK_GLASS, SHADOW
from app.core.targets import ATTESTATIONS_FILE, BUNDLE_FILE, SIGNATURE_FILE
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.core.warrant_request import WarrantRequest

_STEP = "stored evidence"
_KINDS = {SHADOW: "shadow", BREAK_GLASS: "break-glass"}


@dataclass(frozen=True)
class Said:
    """What stored evidence says."""

    predicate_type: str
    statement: dict[str, Any]
    identity: str
    issuer: str
    #: None where the evidence is of a log that has times of its own.
    signed_at: datetime | None


def said_by(raw: bytes) -> Said:
    """Read a Sigstore bundle; nothing is proved. Raises `Denied`, `ValueError`."""
    signer = claimed_signer(raw, _STEP)
    statement = strict_json.load_object(base64.b64decode(strict_json.load_object(raw)["dsseEnvelope"]["payload"]))
    data = SigstoreBundle.from_json(raw).verification_material.timestamp_verification_data
    stamps = data.rfc3161_timestamps if data else []
    at = stamps[0].tst_info.gen_time if stamps else None
    return Said(str(statement["predicateType"]), statement, signer.identity, signer.issuer, at)


def proved_by(trust_config: Path, raw: bytes) -> Said:
    """The same of what also verifies, whoever signed it: who may is said by policies, which change. Raises `Denied`."""
    said = said_by(raw)
    signer = SignerIdentity(identity=said.identity, issuer=said.issuer)
    [subject, *_] = said.statement["subject"]
    verify_evidence(
        raw,
        subject=subject["digest"]["sha256"],
        policy=VerificationPolicy(identities=[signer]),
        trust=_trust(trust_config),
        step=_STEP,
    )
    return said


@lru_cache(maxsize=1)
def _trust(file: Path) -> TrustConfig:
    return TrustConfig.from_file(file)


class Kept:
    """Compares each row with what it was made of."""

    def __init__(self, tables: Tables, objects: Objects, domain: str, said: Callable[[bytes], Said]) -> None:
        self._tables, self._objects, self._domain, self._said = tables, objects, domain, said

    def check(self) -> Iterator[Finding]:
        """All of them."""
        yield from self._releases()
        yield from self._warrants()
        yield from self._modes()
        for row in self._tables.rows(SigningKey, "kid"):
            try:
                due = thumbprint(_json(row["jwk"]))
            except (LookupError, TypeError):
                due = None
            if row["kid"] != due:
                yield changed("signing_key", row["kid"], "jwk", due, row["kid"], "jwk and kid do not fit together")

    def _releases(self) -> Iterator[Finding]:
        of: dict[Any, list[Row]] = defaultdict(list)
        for row in self._tables.rows(Evidence, "release, sha256"):
            of[row["release"]].append(row)
            yield from self._evidence(row)
        for row in self._tables.rows(Release, "digest"):
            yield from self._release(row, of.pop(row["digest"], []))
        for digest, rows in of.items():
            key = f"{digest}/{rows[0]['sha256']}"
            yield Finding("surplus", f"there is no release {digest}", "evidence", key, "release", found=str(digest))

    def _release(self, row: Row, evidence: list[Row]) -> Iterator[Finding]:
        digest = row["digest"]
        attested = b"".join(as_bytes(one["raw"]) + b"\n" for one in _published(evidence))
        bundle, found = self._file(row, BUNDLE_FILE, "digest", "bundle_length")
        yield from found
        signature, found = self._file(row, SIGNATURE_FILE, "signature_sha256", "signature_length")
        yield from found
        _, found = self._file(row, ATTESTATIONS_FILE, "attestations_sha256", "attestations_length")
        yield from found
        due: dict[str, Any] = {
            "attestations_sha256": sha256(attested).hexdigest(),
            "attestations_length": len(attested),
        }
        # What lies under another digest than its own is named by that.
        try:
            if bundle is not None and f"sha256:{sha256(bundle).hexdigest()}" == digest:
                manifest = parse_bundle(bundle).manifest
                due |= {"entrypoint": manifest.entrypoint, "roots": [*manifest.roots], "revision": manifest.revision}
            if signature is not None and sha256(signature).hexdigest() == row["signature_sha256"]:
                said = self._said(signature)
                due |= _signer(said, "signer_identity", "signer_issuer") | {"provenance": said.statement}
        except (Denied, ValueError) as error:
            yield Finding("unproved", f"the release is none: {error}".splitlines()[0], "release", digest)
        yield from _differences("release", digest, row, due)

    def _file(self, row: Row, file: str, by: str, length: str) -> tuple[bytes | None, list[Finding]]:
        name = str(row[by]).removeprefix("sha256:")
        key = object_key(release_file(str(row["digest"]), file, name, 0))
        try:
            body = self._objects.get(key) if is_key(key) else None
        except NotFound:
            body = None
        if body is None:
            return None, [Finding("missing", "there is no such object", "release", row["digest"], by, key)]
        return body, list(_differences("release", row["digest"], row, {length: len(body)}))

    def _evidence(self, row: Row) -> Iterator[Finding]:
        raw, key = as_bytes(row["raw"]), f"{row['release']}/{row['sha256']}"
        digest = sha256(raw).hexdigest()
        if row["sha256"] != digest:
            detail = "sha256 and raw do not fit together"
            yield changed("evidence", key, "raw", str(row["sha256"]), digest, detail)
            return
        try:
            said = self._said(raw)
        except (Denied, ValueError) as error:
            yield Finding("unproved", f"the evidence is none: {error}".splitlines()[0], "evidence", key, "raw")
            return
        due = {"predicate_type": said.predicate_type, "statement": said.statement}
        yield from _differences("evidence", key, row, due | _signer(said, "signer_identity", "signer_issuer"))

    def _warrants(self) -> Iterator[Finding]:
        requests, approvals = {}, {}
        for row in self._tables.rows(Approval, "warrant"):
            evidence = str(row["evidence"]).encode("utf-8", "surrogateescape")
            approvals[row["warrant"]] = payload_digest(payload_of(evidence))
        for row in self._tables.rows(Warrant, "id"):
            requests[row["id"]] = row["request_digest"]
            yield from self._warrant(row, approvals.get(row["id"]))
        for row in self._tables.rows(Approval, "warrant"):
            key, due = row["warrant"], {"request_digest": requests.get(row["warrant"])}
            try:
                said = self._said(str(row["evidence"]).encode("utf-8", "surrogateescape"))
                due |= _signer(said, "identity", "issuer")
                due["request_digest"] = f"sha256:{said.statement['subject'][0]['digest']['sha256']}"
                if said.statement["predicate"]["warrant"] != key:
                    yield changed("approval", key, "warrant", said.statement["predicate"]["warrant"], key)
            except (Denied, ValueError, LookupError, TypeError) as error:
                yield Finding("unproved", f"the approval is none: {error}", "approval", key, "evidence")
            yield from _differences("approval", key, row, due)

    def _warrant(self, row: Row, approval: str | None) -> Iterator[Finding]:
        key = row["id"]
        try:
            request = WarrantRequest.model_validate(_json(row["request"]))
            due: dict[str, Any] = {"request_digest": request.digest(str(row["system"]), str(key))}
        except ValueError as error:
            yield Finding("changed", f"the request is none: {error}".splitlines()[0], "warrant", key, "request")
            return
        if row["request_digest"] != due["request_digest"]:
            detail = "system, id, request and request_digest do not fit together"
            yield changed("warrant", key, "request", due["request_digest"], row["request_digest"], detail)
            return
        actor = request.actor
        due |= {"subject_issuer": request.subject.issuer, "subject_id": request.subject.id}
        due |= {"actor_issuer": actor.issuer if actor else None, "actor_id": actor.id if actor else None}
        claims = _json(row["claims"])
        if isinstance(claims, dict) or row["issued_at"] is not None:
            said = claims if isinstance(claims, dict) else {}
            at = said.get("iat")
            at = at if type(at) is int and 0 <= at < 2**33 else 0
            home = {"issuer": control_plane_id(self._domain), "audience": audience_of(self._domain, str(row["system"]))}
            made = request.claims(jti=str(key), now=at, approval=approval, **home).document()
            due |= {"claims": made, "issued_at": _seconds(at), "expires_at": _seconds(int(made["exp"]))}
        yield from _differences("warrant", key, row, due)

    def _modes(self) -> Iterator[Finding]:
        for row in self._tables.rows(Mode, "system, id"):
            key = f"{row['system']}/{row['id']}"
            try:
                texts = [str(one).encode("utf-8", "surrogatepass") for one in _json(row["evidence"])]
                pieces = [self._said(one) for one in texts]
                predicate = pieces[0].statement["predicate"]
                due = {
                    "kind": _KINDS[pieces[0].predicate_type],
                    "id": predicate["id"],
                    "reason": predicate["reason"],
                    "begins_at": instant(datetime.fromisoformat(predicate["from"]).astimezone(UTC)),
                    "ends_at": instant(datetime.fromisoformat(predicate["until"]).astimezone(UTC)),
                    "predicate": predicate,
                    "signers": [{"identity": one.identity, "issuer": one.issuer} for one in pieces],
                    "system": str(predicate["system"]).rpartition("/")[2],
                }
            except (Denied, ValueError, LookupError, TypeError) as error:
                yield Finding("unproved", f"the evidence is none: {error}".splitlines()[0], "mode", key, "evidence")
                continue
            if any(one.statement != pieces[0].statement for one in pieces):
                yield Finding("unproved", "the pieces of evidence are of different statements", "mode", key, "evidence")
            yield from _differences("mode", key, row, due)


def _signer(said: Said, identity: str, issuer: str) -> dict[str, Any]:
    due: dict[str, Any] = {identity: said.identity, issuer: said.issuer}
    return due if said.signed_at is None else due | {"signed_at": instant(said.signed_at.astimezone(UTC))}


def _differences(table: str, key: Any, row: Row, due: dict[str, Any]) -> Iterator[Finding]:
    for name, value in due.items():
        there = row[name] if not isinstance(value, dict | list) else _json(row[name])
        if there != value:
            expected, found = (json.dumps(one) if isinstance(one, dict | list) else one for one in (value, there))
            yield changed(table, str(key), name, expected, found)


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _published(evidence: Iterable[Row]) -> list[Row]:
    """The attestations that the release's file holds: what was said anew supersedes what was said before."""

    def subject(row: Row) -> Hashable:
        said = (str(row["predicate_type"]), str(row["signer_identity"]), str(row["signer_issuer"]))
        return superseded.about(*said, _json(row["statement"])) or row["sha256"]

    return superseded.latest(sorted(evidence, key=_by_time), subject)


def _by_time(row: Row) -> tuple[str, str]:
    return str(row["signed_at"]), str(row["sha256"])


def _seconds(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime(INSTANT)
