"""The statements of journals: their rows, their evidence, what they name, and whether they follow each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from app.control import links
from app.control.fsck.batch import CLOCKS
from app.control.fsck.claims import Signers
from app.control.fsck.finding import WRITTEN, Finding, changed
from app.control.fsck.tables import Tables, reading
from app.control.links import Statement
from app.control.objects import Objects
from app.control.problems import NotFound
from app.control.sidecar_statement import Signed, payload_of
from app.control.store import Seals, Store
from app.control.store.as_stored import INSTANT, Row, instant
from app.core.errors import Denied
from app.core.governance import sidecar_id
from app.core.link_names import payload_digest
from app.core.reason_codes import Reason
from app.core.strict_json import StrictJSONError, load_object
from app.core.verification_policy import SignerIdentity

_TABLE = "link"


@dataclass(frozen=True)
class Place:
    """What a statement says of its place, or else its row."""

    row: int
    system: Any
    sidecar: Any
    instance: Any
    number: Any
    payload: Any
    previous: Any

    @property
    def journal(self) -> tuple[Any, Any, Any]:
        """Of which instance of a sidecar it is."""
        return self.system, self.sidecar, self.instance


class Links:
    """Checks the statements that are stored, in the order of their rows."""

    def __init__(self, objects: Objects, tables: Tables, signers: Signers | None, seals: Seals) -> None:
        self._objects, self._tables, self._signers, self._seals = objects, tables, signers, seals
        self.count = 0
        self._last: dict[tuple[Any, Any, Any], Place] = {}

    def check(self, where: str, *, whole: bool, **bound: Any) -> Iterator[Finding]:
        """Every statement. Unless the lineage is `whole`, each journal may begin anywhere."""
        for row in self._tables.links(where, **bound):
            self.count += 1
            place = Place(
                row["id"], row["system"], row["sidecar"], row["instance"], row["number"], row["payload"], None
            )
            found, proved = self._evidence(row)
            told = [*found, *_received(row)]
            if proved is not None:
                signed, says = proved
                told += self._columns(row, signed, says)
                system, sidecar = says.sidecar.split("/")[4:]
                payload = payload_digest(signed.payload)
                place = Place(row["id"], system, sidecar, says.instance, says.number, payload, says.previous)
            if not told and not self._seals.hold("link", row):
                told.append(Finding("changed", WRITTEN, _TABLE, row["id"], "received_at"))
            yield from told
            yield from self._follow(place, whole, proved is not None)
        yield from self._orphans(where)

    def unused(self, keys: Iterable[str], store: Store) -> Iterator[Finding]:
        """Objects that no row names. What a sidecar signed, and no row is of, is missing."""
        for key in keys:
            if any(row["object"] == key for row in self._rows_of(key)):
                continue
            yield self._lost(key, store) or Finding("unused", "no row names this object", object=key)

    def approvals(self, system: str | None) -> Iterator[Finding]:
        """The approvals that lie beside the executions that were started by their warrants."""
        for of, warrant, evidence in self._tables.started_by(system):
            key = links.approval_key(of, warrant)
            try:
                there = self._objects.get(key)
            except NotFound:
                yield Finding("missing", f"the approval of warrant {warrant} is not there", "approval", object=key)
                continue
            if there != evidence.encode():
                detail = f"the object and the row of the approval of warrant {warrant} differ"
                due, found = (sha256(one).hexdigest() for one in (evidence.encode(), there))
                yield Finding("changed", detail, "approval", None, "evidence", key, due, found)

    def _rows_of(self, key: str) -> Iterator[Row]:
        """Rows that may name an object, by what its name says."""
        _, system, sidecar, instance, name = key.split("/", 4)
        number, _, digest = name.removesuffix(".json").partition("-")
        yield from self._tables.links("payload = :payload", payload=f"sha256:{digest}")
        if len(number) == 20 and number.isdecimal() and int(number) < 2**63:
            place = "system = :system AND sidecar = :sidecar AND instance = :instance AND number = :number"
            bound = {"system": system, "sidecar": sidecar, "instance": instance, "number": int(number)}
            yield from self._tables.links(place, **bound)

    def _lost(self, key: str, store: Store) -> Finding | None:
        """A statement that a sidecar signed, of which there is no row."""
        if self._signers is None:
            return None
        try:
            signed, says = self._proved(self._objects.get(key), "", "")
        except (Denied, NotFound):
            return None
        payload = payload_digest(signed.payload)
        with reading(store) as tables:  # now: it may have been taken since we began
            if any(True for _ in tables.links("payload = :payload", payload=payload)):
                return None
        detail = f"{says.sidecar} (instance {says.instance}) signed statement {says.number}, of which there is no row"
        return Finding("missing", detail, _TABLE, None, None, key, payload)

    def _evidence(self, row: Row) -> tuple[list[Finding], tuple[Signed, Statement] | None]:
        key = str(row["object"])
        try:
            body = self._objects.get(key)
        except NotFound:
            return [Finding("missing", "there is no such object", _TABLE, row["id"], "object", key)], None
        digest = sha256(body).hexdigest()
        same = row["evidence_sha256"] == digest
        otherwise = Finding("changed", "the object is not the one that was stored", _TABLE, row["id"], None, key,
                            row["evidence_sha256"], digest)  # fmt: skip
        if self._signers is None:
            return ([] if same else [otherwise]), None
        try:
            signed, says = self._proved(body, row["system"], row["sidecar"])
        except Denied as denied:
            unproved = Finding("unproved", str(denied), _TABLE, row["id"], "object", key)
            return [unproved if same else otherwise], None
        if same:
            return [], (signed, says)
        if payload_digest(signed.payload) != row["payload"]:
            return [otherwise], None
        return [changed(_TABLE, row["id"], "evidence_sha256", digest, row["evidence_sha256"])], (signed, says)

    def _proved(self, body: bytes, system: Any, sidecar: Any) -> tuple[Signed, Statement]:
        """What a sidecar signed: that of the row, or the one of which it speaks. Raises `Denied`."""
        assert self._signers is not None
        refusal = Denied(Reason.LINK_INVALID, f"nobody signs as {sidecar!r} of {system!r}", step=links.STEP)
        try:
            claimed = str(load_object(payload_of(body))["predicate"]["environment"]["sidecar"])
        except (StrictJSONError, LookupError, TypeError):
            claimed = ""
        identities = [sidecar_id(self._signers.domain, system, sidecar)]
        if claimed.startswith(f"spiffe://{self._signers.domain}/sidecar/"):
            identities.append(claimed)
        for identity in dict.fromkeys(identities):
            for issuer in self._signers.issuers:
                try:
                    signer = SignerIdentity(identity=identity, issuer=issuer)
                    signed = links.signed_by(signer, self._signers.verify, body)
                    return signed, links.statement_of(signed)
                except Denied as denied:
                    refusal = denied
                except ValueError:  # of a damaged row: nobody can have such a name
                    break
        raise refusal

    def _columns(self, row: Row, signed: Signed, says: Statement) -> Iterator[Finding]:
        """The row, and the rows of what the statement names, against what was signed."""
        system, sidecar = says.sidecar.split("/")[4:]
        payload = payload_digest(signed.payload)
        due: dict[str, Any] = {
            "system": system,
            "sidecar": sidecar,
            "instance": says.instance,
            "number": says.number,
            "payload": payload,
            "kind": says.kind,
            "execution": says.execution,
            "at": instant(says.at),
            "signed_at": instant(signed.verified.signed_at.astimezone(UTC)),
            "log_index": signed.log_index,
            "object": links.object_key(system, sidecar, says, payload),
        }
        for name, value in due.items():
            if row[name] != value:
                yield changed(_TABLE, row["id"], name, value, row[name])
        wanted = [(one.position, one.material, one.name, one.sha256) for one in links.resources(row["id"], says)]
        there = [(one[0], bool(one[1]), *one[2:]) for one in self._tables.resources(row["id"])]
        if wanted != there:
            differs = next((at for at, pair in enumerate(zip(wanted, there, strict=False)) if pair[0] != pair[1]), None)
            at = min(len(wanted), len(there)) if differs is None else differs
            expected, found = (repr(one[at]) if at < len(one) else None for one in (wanted, there))
            detail = f"what statement {row['id']} names stands otherwise in the rows, from position {at} on"
            yield Finding("changed", detail, "link_resource", row["id"], None, None, expected, found)

    def _follow(self, place: Place, whole: bool, proved: bool) -> Iterator[Finding]:
        last = self._last.get(place.journal)
        if not isinstance(place.number, int):
            return
        self._last[place.journal] = place
        due = 0 if last is None else last.number + 1
        name = "/".join(map(str, place.journal))
        if last is None and not whole:
            return
        if place.number > due:
            detail = f"statements {due} to {place.number - 1} of {name} are missing"
            yield Finding("gap", detail, _TABLE, place.row, None, None, due, place.number)
        elif place.number < due:
            detail = f"statement {place.number} of {name} stands after statement {due - 1}"
            yield Finding("fork", detail, _TABLE, place.row, None, None, due, place.number)
        elif proved and place.previous != (last.payload if last else None):
            detail = f"the statement before it, {last.row if last else 'none'}, is not the one that it names"
            expected = last.payload if last else None
            yield Finding("fork", detail, _TABLE, place.row, None, None, expected, place.previous)

    def _orphans(self, where: str) -> Iterator[Finding]:
        """What statements that are not there would name."""
        if where != "TRUE":
            return
        for link in self._tables.orphaned_resources():
            yield Finding("surplus", f"there is no statement {link}", "link_resource", link, "link")


def _received(row: Row) -> Iterator[Finding]:
    """When a statement came is signed by nobody. It came after it was signed, and not in the future."""
    try:
        received, signed = (datetime.strptime(row[name], INSTANT) for name in ("received_at", "signed_at"))
    except (ValueError, TypeError):
        yield changed(_TABLE, row["id"], "received_at", "a time", row["received_at"])
        return
    if received < signed - CLOCKS or received > datetime.now(UTC).replace(tzinfo=None) + CLOCKS:
        yield changed(_TABLE, row["id"], "received_at", f"after {row['signed_at']}", row["received_at"])
