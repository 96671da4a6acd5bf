"""The objects of one batch: its records, salts and leaf hashes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import accumulate
from typing import Any

from app.control.fsck.claims import Claims
from app.control.fsck.finding import Finding, changed
from app.control.fsck.tables import Row
from app.control.objects import Objects
from app.control.problems import NotFound
from app.control.records import object_key
from app.core import merkle

#: Entries that are named where some were changed.
_NAMED = 5

_PLACE = re.compile(r"records/([^/]+)/([^/]+)/([^/]+)/([^/]+)/([0-9]{20,})-([0-9a-f]{64})\.jsonl")


@dataclass
class Contents:
    """Reads the objects of the batch of one row, and notes what is wrong with them."""

    objects: Objects
    row: Row
    claims: Claims
    findings: list[Finding] = field(default_factory=list)
    #: The keys that the row names.
    named: list[str] = field(default_factory=list)

    def records(self) -> tuple[bytes | None, bool]:
        """The records, and whether they have the digest that they are stored under."""
        key, digest = self.row["object"], self.row["sha256"]
        due = object_key(self.claims.span, digest) if isinstance(self.claims.first, int) else None
        body = self.read(key)
        if key != due:
            other = self.read(due)
            if other is not None and _digest(other) == digest:
                self._changed("object", due, key)
                return other, True
            if body is not None and (place := _PLACE.fullmatch(key)) and place[6] == _digest(body):
                self._misplaced(place)
                return body, True
        if body is None:
            self._missing("object", key)
            return None, False
        if _digest(body) != digest:
            self._damaged(key, digest, body)
            return body, False
        if key != due:
            self._changed("object", due, key)
        return body, True

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

    def damage(self, raw: bytes | None, salts: bytes | None, same_digests: bool) -> set[int] | None:
        """Name the entries that are not those of the root, by the stored leaf hashes, if those make it.

        Gives the bytes of the records where they begin; None: nobody knows.
        """
        stored, intact = self.addressed("leaves")
        leaves = merkle.hashes(stored or b"")
        if merkle.root(leaves).hex() != self.claims.root:
            if intact:
                self._of_row("leaves", "the stored leaf hashes do not make the batch's root")
            if same_digests and raw is not None and salts is not None:
                self._of_row("root", "the records and salts do not make the batch's root")
            return None
        if raw is None or salts is None:
            return None
        entries = raw.removesuffix(b"\n").split(b"\n")
        wrong = [at for at, leaf in enumerate(leaves) if at >= len(entries) or _leaf(salts, at, entries[at]) != leaf]
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
        starts = list(accumulate((len(entry) + 1 for entry in entries), initial=0))
        return {starts[at] for at in wrong}

    def read(self, key: Any) -> bytes | None:
        """An object; None when there is none, such as for what is no key at all. Raises `Unavailable`."""
        if not isinstance(key, str) or not key.isprintable() or {"", ".", ".."} & set(key.split("/")):
            return None
        if "#" in key or "%" in key or not key.isascii():
            return None
        self.named.append(key)
        try:
            return self.objects.get(key)
        except NotFound:
            return None

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
            self._changed("object", object_key(span, place[6]), self.row["object"])
        if self.row["sha256"] != place[6]:
            self._changed("sha256", place[6], self.row["sha256"])

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


def entries_of(raw: bytes, salts: bytes) -> tuple[list[bytes], list[bytes]] | None:
    """The entries and their leaf hashes; None where there are not as many salts."""
    entries = raw[:-1].split(b"\n")
    if not raw.endswith(b"\n") or len(salts) != merkle.SALT * len(entries):
        return None
    return entries, merkle.leaf_hashes(salts, entries)


def _leaf(salts: bytes, at: int, entry: bytes) -> bytes:
    salt = salts[merkle.SALT * at : merkle.SALT * (at + 1)]
    return merkle.leaf_hash(salt, entry) if len(salt) == merkle.SALT else b""


def _some(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(map(str, listed[:_NAMED])) + more


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()
