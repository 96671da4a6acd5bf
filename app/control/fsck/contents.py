"""The objects of one batch: its records, salts and leaf hashes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from app.control.fsck.claims import Claims
from app.control.fsck.finding import Finding, changed
from app.control.objects import Objects, is_key
from app.control.problems import NotFound
from app.control.raw_records import Entries, received_digest
from app.control.store.as_stored import Row
from app.core import merkle, record_frames
from app.core.record_frames import PLAIN

#: Entries that are named where some were changed.
_NAMED = 5

_PLACE = re.compile(r"records/([^/]+)/([^/]+)/([^/]+)/([^/]+)/([0-9]{20,})-([0-9a-f]{64})\.(?:frames|jsonl)")


@dataclass
class Contents:
    """Reads the objects of the batch of one row, and notes what is wrong with them."""

    objects: Objects
    row: Row
    claims: Claims
    findings: list[Finding] = field(default_factory=list)
    #: The keys that the row names.
    named: list[str] = field(default_factory=list)

    def records(self) -> tuple[Entries | None, bool]:
        """The entries, and whether their object has the digest that it is named by."""
        key = self.row["object"]
        body = self.read(key)
        place = _PLACE.fullmatch(key) if isinstance(key, str) else None
        if (body is None or place is None or not self._own(place)) and (found := self._elsewhere(key)) is not None:
            self._changed("object", found[0], key)
            return found[1], True
        if body is None:
            self._missing("object", key)
            return None, False
        if place is None:
            self._changed("object", f"{_directory(self.claims)}/…", key)
            return None, False
        if _digest(body) != place[6]:
            self._damaged(key, place[6], body)
            return _salvaged(key, body), False
        if not self._own(place):
            self._misplaced(place)
        try:
            return record_frames.entries_of(key, body), True
        except record_frames.Damaged as damaged:
            self._of_row("object", f"the object holds no records: {damaged}")
            return None, False

    def received(self, entries: Entries) -> None:
        """Compare the digest of what was received with these entries, of which none is erased."""
        digest = received_digest(entries)
        if self.row["sha256"] != digest:
            self._changed("sha256", digest, self.row["sha256"])

    def addressed(self, kind: str) -> tuple[bytes | None, bool]:
        """What a column names by its digest (evidence, salts), and whether it has that digest."""
        key = self.row[kind]
        begins = f"{kind}/{self.claims.system}/"
        if not isinstance(key, str):
            self._changed(kind, f"{begins}…", key)
            return None, False
        digest = key.rpartition("/")[2]
        body = self.read(key)
        if not key.startswith(begins) and (moved := self.read(begins + digest)) is not None:
            self._changed(kind, begins + digest, key)
            return moved, _digest(moved) == digest
        if body is None:
            self._missing(kind, key)
            return None, False
        if _digest(body) != digest:
            self._damaged(key, digest, body)
            return body, False
        return body, True

    def made(self, entries: Entries, salts: bytes) -> list[bytes] | None:
        """The leaf hashes of the entries, of erased ones those that are stored; None without as many salts."""
        if len(salts) != merkle.SALT * len(entries):
            return None
        if None not in entries:
            return merkle.leaf_hashes(salts, entries)  # type: ignore[arg-type]  # none of them is None here
        stored = merkle.hashes(self.read(self.row["leaves"]) or b"")
        if len(stored) != len(entries):
            return None
        salt = merkle.SALT
        return [
            stored[at] if entry is None else merkle.leaf_hash(salts[salt * at : salt * (at + 1)], entry)
            for at, entry in enumerate(entries)
        ]

    def leaves_of(self, leaves: list[bytes]) -> None:
        """Compare the stored leaf hashes with the proved ones."""
        whole = b"".join(leaves)
        due = f"leaves/{self.claims.system}/{_digest(whole)}"
        if self.row["leaves"] != due:
            self._changed("leaves", due, self.row["leaves"])
        body = self.read(due)
        if body is None:
            self._missing("leaves", due)
        elif body != whole:
            stored = merkle.hashes(body)
            wrong = [at for at, leaf in enumerate(leaves) if at >= len(stored) or stored[at] != leaf]
            self._damaged(due, _digest(whole), body, f"leaf {_some(wrong)}" if wrong else "there are more leaves")

    def damage(self, entries: Entries | None, salts: bytes | None, same_digests: bool) -> set[int] | None:
        """Name the entries that are not those of the root, by the stored leaf hashes, if those make it.

        Gives their numbers; None: nobody knows.
        """
        stored, intact = self.addressed("leaves")
        leaves = merkle.hashes(stored or b"")
        if merkle.root(leaves).hex() != self.claims.root:
            if intact:
                self._of_row("leaves", "the stored leaf hashes do not make the batch's root")
            if same_digests and entries is not None and salts is not None:
                self._of_row("root", "the records and salts do not make the batch's root")
            return None
        if entries is None or salts is None:
            return None
        wrong = [at for at, leaf in enumerate(leaves) if not _makes(leaf, salts, at, entries)]
        first = self.claims.first_entry if isinstance(self.claims.first_entry, int) else 0
        said = f"entry {_some(first + at for at in wrong)} with its salt does not make the leaf that was signed"
        if same_digests:
            # Both have their digests, so a column was made to name another object: salts of others fit nowhere.
            self._of_row("salts" if len(wrong) == len(leaves) else "object", said)
        else:
            names = (self.row["object"], self.row["salts"])
            self.findings[:] = [
                replace(one, detail=f"{one.detail}; {said}") if one.object in names and one.column is None else one
                for one in self.findings
            ]
        if len(entries) != len(leaves) or len(wrong) == len(leaves):
            return None
        return set(wrong)

    def read(self, key: Any) -> bytes | None:
        """An object; None when there is none, such as for what is no key at all. Raises `Unavailable`."""
        if not is_key(key):
            return None
        self.named.append(key)
        try:
            return self.objects.get(key)
        except NotFound:
            return None

    def _own(self, place: re.Match[str]) -> bool:
        """Whether an object's key is of this batch; in the plain form it has the digest of what was received, too."""
        span = self.claims.span
        says = (place[1], place[2], place[3], place[4], int(place[5]))
        if says != (span.system, span.sidecar, span.instance, span.file, span.first):
            return False
        return not place[0].endswith(PLAIN) or bool(place[6] == self.row["sha256"])

    def _elsewhere(self, key: Any) -> tuple[str, Entries] | None:
        """Another object of this batch's place, with what was received: its key and its entries."""
        if not isinstance(self.claims.first, int) or not is_key(_directory(self.claims)):
            return None
        for other, _ in self.objects.keys(_directory(self.claims)):
            place = _PLACE.fullmatch(other)
            if other == key or place is None or not self._own(place):
                continue
            body = self.read(other)
            entries = None if body is None or _digest(body) != place[6] else _salvaged(other, body)
            if entries is not None and self._fits(entries):
                return other, entries
        return None

    def _fits(self, entries: Entries) -> bool:
        if None in entries:
            return self.claims.entries in (None, len(entries))
        return bool(received_digest(entries) == self.row["sha256"])

    def _misplaced(self, place: re.Match[str]) -> None:
        """The object is whole and lies where its key says: what of the row says otherwise?"""
        says = (place[1], place[2], place[3], place[4], int(place[5]))
        span = self.claims.span
        if self.claims.root is None:
            for name, due in zip(("system", "sidecar", "instance", "file", "first"), says, strict=True):
                if self.row[name] != due:
                    self._changed(name, due, self.row[name])
            self.claims = Claims(*says, span.last)
        elif says != (span.system, span.sidecar, span.instance, span.file, span.first):
            self._changed("object", f"{_directory(self.claims)}/…", self.row["object"])

    def _changed(self, column: str, expected: Any, found: Any) -> None:
        self.findings.append(changed("batch", self.row["id"], column, expected, found))

    def _missing(self, column: str, key: Any) -> None:
        detail = "there is no such object"
        self.findings.append(Finding("missing", detail, "batch", self.row["id"], column, str(key)))

    def _damaged(self, key: str, digest: Any, body: bytes, detail: str = "") -> None:
        detail = detail or "the object has another SHA-256 than its name"
        self.findings.append(
            Finding("changed", detail, "batch", self.row["id"], None, key, str(digest), f"{_digest(body)}")
        )

    def _of_row(self, column: str, detail: str) -> None:
        self.findings.append(
            Finding("changed", detail, "batch", self.row["id"], column, str(self.row[column]))
        )  # fmt: skip


def _directory(claims: Claims) -> str:
    return f"records/{claims.system}/{claims.sidecar}/{claims.instance}/{claims.file}"


def _salvaged(key: str, body: bytes) -> Entries | None:
    """What can still be read of a damaged object: frames that cannot are empty lines, which were not signed."""
    try:
        return record_frames.entries_of(key, body)
    except record_frames.Damaged:
        pass
    if key.endswith(PLAIN):
        return [*body.removesuffix(b"\n").split(b"\n")]
    try:
        head = record_frames.read_head(body)
    except record_frames.Damaged:
        return None
    found: Entries = []
    for frame in range(head.frames):
        try:
            found += record_frames.read_frame(head, frame, body[head.bounds[frame] : head.bounds[frame + 1]])
        except record_frames.Damaged:
            found += [b""] * len(head.numbers(frame))
    return found


def _makes(leaf: bytes, salts: bytes, at: int, entries: Entries) -> bool:
    """Whether the entry with its salt makes the leaf; of an erased one nothing can be said."""
    entry = entries[at] if at < len(entries) else b""
    if entry is None:
        return True
    salt = salts[merkle.SALT * at : merkle.SALT * (at + 1)]
    return at < len(entries) and len(salt) == merkle.SALT and merkle.leaf_hash(salt, entry) == leaf


def _some(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(map(str, listed[:_NAMED])) + more


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()
