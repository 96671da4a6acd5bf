"""What is besides batches: decision rows and objects that no row names, trust states, and what was refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from app.control.fsck.claims import Signers
from app.control.fsck.finding import Finding, changed
from app.control.fsck.scratch import Scratch
from app.control.fsck.tables import Tables, reading
from app.control.objects import Objects, is_key
from app.control.problems import NotFound
from app.control.store import SignedBreak, Store
from app.control.store.as_stored import Row
from app.core.batch import payload_digest
from app.core.errors import Denied

#: Where objects of batches lie; and those that are younger than this may be of a request that is under way.
KINDS = ("records", "salts", "leaves", "evidence")
SETTLED = timedelta(minutes=1)

#: Decision rows of a batch that is not there, which are named one by one.
_MAX_ORPHANS = 50


def listing(objects: Objects, system: str | None, settled: timedelta) -> Iterator[str]:
    """Objects of batches, trust states and statements that are in the store."""
    since = datetime.now(UTC) - settled
    for kind in (*KINDS, "states", "links"):
        prefix = kind if system is None else f"{kind}/{system}"
        for key, written in objects.keys(prefix):
            if written <= since:
                yield key


def states(scratch: Scratch, objects: Objects) -> Iterator[Finding | None]:
    """Each trust state, whether it is there and of its digest. None: it is."""
    for system, digest, batch in scratch.states():
        key = f"states/{system}/{str(digest).removeprefix('sha256:')}.json"
        table = "trust_state" if batch is None else "batch"
        try:
            if not is_key(key):
                raise NotFound("a damaged row")
            there = f"sha256:{sha256(objects.get(key)).hexdigest()}"
        except NotFound:
            detail = "the trust state that records rest on is not there"
            yield Finding("missing", detail, table, batch, None, key, digest)
            continue
        if there == digest:
            yield None
        else:
            yield Finding("changed", "the trust state has another digest", table, batch, None, key, digest, there)


def orphans(tables: Tables, scratch: Scratch, missing: Collection[tuple[str, int] | None]) -> Iterator[Finding]:
    """Decision rows of batches that are not there. Of those of `missing` pairs it is one finding."""
    for batch, count, first, last in scratch.orphans():
        detail = f"there is no batch {batch}"
        if ("batch", batch) in missing:
            yield Finding("surplus", detail, "decision", column="batch", found=batch, pair=("batch", batch))
        elif count <= _MAX_ORPHANS:
            for row in tables.decision_ids(batch, first, last, _MAX_ORPHANS):
                yield Finding("surplus", detail, "decision", row, "batch", None, None, batch, ("decision", row))
        else:
            detail = f"{detail}, which {count} decision rows from {first} to {last} name"
            yield Finding("surplus", detail, "decision", first, "batch", found=batch)


def refused(breaks: list[Row], objects: Objects) -> Iterator[Finding]:
    """Batches that were refused and kept, whether they are as they came."""
    for row in breaks:
        key = row["object"]
        if key is None:
            continue
        due = f"quarantine/{row['system']}/{row['sidecar']}/{row['body_sha256']}.json"
        try:
            digest = sha256(objects.get(key)).hexdigest()
        except NotFound:
            yield Finding("missing", "there is no such object", "lineage_break", row["id"], "object", key, due)
            continue
        if key.rpartition("/")[2] != f"{digest}.json":
            detail = "the object has another SHA-256 than its name"
            yield Finding("changed", detail, "lineage_break", row["id"], None, key, row["body_sha256"], digest)
        elif row["body_sha256"] != digest:
            yield changed("lineage_break", row["id"], "body_sha256", digest, row["body_sha256"])
        elif key != due:
            yield changed("lineage_break", row["id"], "object", due, key)


def judged(breaks: list[Row], tables: Tables) -> Iterator[Finding]:
    """Breaks of batches that were taken, whether each is of the batch that it names."""
    for row in breaks:
        if row["batch"] is None:
            continue
        batch = next(tables.batches("id = :id", id=row["batch"]), None)
        if batch is None:
            detail = "there is no such batch"
            yield Finding("missing", detail, "lineage_break", row["id"], "batch", expected=row["batch"])
            continue
        due = {name: batch[name] for name in ("system", "sidecar", "instance")}
        due["body_sha256"] = str(batch["payload"]).removeprefix("sha256:")
        for name, value in due.items():
            if row[name] != value:
                yield changed("lineage_break", row["id"], name, value, row[name])


def signed(tables: Tables, objects: Objects) -> Iterator[Finding]:
    """What the control plane has signed of breaks, whether its evidence is there as it was."""
    for row in tables.rows(SignedBreak, "id"):
        key = row["object"]
        try:
            digest = sha256(objects.get(key)).hexdigest() if is_key(key) else None
        except NotFound:
            digest = None
        if digest is None:
            yield Finding("missing", "there is no such object", "signed_break", row["id"], "object", key)
        elif digest != row["evidence_sha256"]:
            detail = "the object has another SHA-256 than its row says"
            yield Finding(
                "changed", detail, "signed_break", row["id"], "evidence_sha256", key, row["evidence_sha256"], digest
            )


def unused(scratch: Scratch, objects: Objects, store: Store, signers: Signers | None) -> Iterator[Finding]:
    """Objects that no row names. Evidence among them is one of these if a sidecar signed it, and no row is of it."""
    for key in scratch.unused():
        kind = key.partition("/")[0]
        if kind in ("states", "links"):
            continue
        lost = _lost(key, objects, store, signers) if kind == "evidence" and signers else None
        yield lost or Finding("unused", "no row names this object", object=key)


def _lost(key: str, objects: Objects, store: Store, signers: Signers) -> Finding | None:
    """The evidence of a batch of which there is no row."""
    try:
        signed, batch = signers.proved(objects.get(key), "", "")
    except (Denied, NotFound):
        return None
    digest = payload_digest(signed.payload)
    with reading(store) as tables:  # now: it may have been taken since we began
        if tables.count_batches("payload = :payload", payload=digest):
            return None
    detail = (
        f"{batch.sidecar} (instance {batch.instance}) signed a batch of entries {batch.first_entry} to "
        f"{batch.next_entry - 1}, of which there is no row"
    )
    return Finding("missing", detail, "batch", None, None, key, digest)


def break_document(row: Row) -> dict[str, Any]:
    """A break as it is listed."""
    names = ("id", "system", "sidecar", "kind", "stops", "stops_at", "opened_at", "cleared_at", "cleared_by", "note",
             "detail")  # fmt: skip
    return {name: row[name] for name in names} | {"stops": bool(row["stops"])}
