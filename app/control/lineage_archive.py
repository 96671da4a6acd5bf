"""An execution's evidence by the object store alone: no database is asked, and nothing is believed that is not signed.

Everything that sidecars signed is listed and read once, which takes as long as there is much of it; what an answer
rests on is verified, and must be the whole chain of its journal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from app.control import break_signing
from app.control.fsck.claims import Signers
from app.control.lineage_journals import UNREADABLE, UNVERIFIED, Journals, LogCheck
from app.control.lineage_objects import ObjectEvidence, Wish
from app.control.objects import Objects
from app.control.plane import StatementVerifier
from app.control.raw_records import Changed, Entries, entries
from app.control.sidecar_statement import payload_of
from app.control.store import Batch
from app.core import merkle
from app.core.batch import BatchStatement
from app.core.break_statement import ToldBreak, within
from app.core.errors import Denied
from app.core.execution_evidence import Key, Recorded, SignedLink, chosen
from app.core.governance import sidecar_id
from app.core.link_names import ARTIFACT, PARENT, payload_digest

#: What is left out, in a lineage's own words.
_UNVERIFIED = "batches that do not verify"


class ArchiveEvidence(ObjectEvidence):
    """A source (`app.core.execution_evidence`) over an object store."""

    def __init__(
        self,
        objects: Objects,
        verify: StatementVerifier,
        signers: Signers,
        in_log: LogCheck = lambda _: None,
        progress: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        """`signers`: verifies what sidecars sign. `progress` is told what is read, and how much. Raises `Denied`."""
        super().__init__(objects, verify)
        self._signers, self._in_log, self._progress = signers, in_log, progress
        self._journals = Journals(objects, signers, in_log, self.leave_out)
        self._leaves: dict[str, dict[str, str]] = {}
        self._salts: dict[str, dict[int, list[bytes]]] = {}
        self._records: dict[tuple[str, int], list[str]] = defaultdict(list)
        self._batches: dict[str, list[tuple[list[str], BatchStatement]]] = {}
        for number, (name, _) in enumerate(sorted(objects.keys("links"))):
            progress("statements", number)
            self._journals.add(name)

    def executions(self, identifier: str) -> list[Key]:
        """Those of this id."""
        return self._journals.executions(identifier)

    def of(self, key: Key, limit: int) -> list[SignedLink]:
        """The first links of an execution, in their order."""
        found = [one for one in self._journals.chain(key[:3]) if one.says.execution == key.id]
        return [self._journals.give(one) for one in found[:limit]]

    def joined(self, digests: Iterable[str], links: Iterable[str]) -> list[Key]:
        """Executions of which links name an artifact of one of these digests, or one of these links as a parent."""
        return sorted(self._journals.joined(ARTIFACT, digests) | self._journals.joined(PARENT, links))

    def links(self, digests: Iterable[str]) -> list[SignedLink]:
        """The statements of these digests."""
        return self._journals.links(digests)

    def events(self, key: Key, first: int, last: int | None, limit: int) -> list[SignedLink]:
        """What the sidecar's journal says of itself between two numbers, the oldest first; to its end for None."""
        chain = self._journals.chain(key[:3])
        found = [one for one in chain if one.says.execution is None and one.says.number > first]
        found = [one for one in found if last is None or one.says.number < last]
        return [self._journals.give(one) for one in found[:limit]]

    def breaks(self, key: Key, first: datetime, last: datetime | None, limit: int) -> list[ToldBreak]:
        """Breaks that were opened or borne between two times, and what followed, as the control plane signed them."""
        found = []
        for name, evidence in self._all(f"breaks/{key.system}/{key.sidecar}"):
            try:
                told = break_signing.proved(self._signers.domain, self._signers.issuers, self._signers.verify, evidence)
            except Denied:
                self.leave_out(UNVERIFIED)
                continue
            of = told.says.sidecar == sidecar_id(self._signers.domain, key.system, key.sidecar)
            if of and name.endswith(f"/{told.says.number:012d}-{told.says.change}.json"):
                self._in_log(evidence)
                found.append(told)
        return within(found, key.instance, first, last, limit)

    def decisions(self, key: Key, named: dict[str, str], own: bool, limit: int) -> Sequence[Recorded]:
        """Signed records of the instance: those that links name, and with `own` those that name the execution."""
        wish = Wish(named, key.id if own else None)
        found: list[Recorded] = []
        claimed = 0
        for number, (names, statement) in enumerate(self._batches_of(key)):
            self._progress("batches", number)
            batch = self._batch(key, statement)
            some, refusal = self._wanted(batch, wish) if batch else ([], None)
            if not some and refusal is None:
                continue
            if (evidence := self._signed(names, key)) is None:
                self.leave_out(_UNVERIFIED)
                continue
            if refusal is not None:
                raise refusal
            is_named = any(map(wish.names, some))
            if (is_named or claimed < limit) and self.has_room(named=is_named, own=own):
                self._in_log(evidence)
                claimed += 0 if is_named else len(some)
                found += some
        return chosen(found, named, limit)

    def salts(self, batch: Batch, entries: Entries, leaves: list[bytes]) -> bytes:
        """The salts with which the most entries have their leaf hashes; other batches have as many entries, too."""
        number, raw = next(((at, one) for at, one in enumerate(entries) if one is not None), (0, None))
        found, most = b"", -1
        for body in self._salts[batch.system].get(len(leaves) * merkle.SALT, ()):
            salt = body[number * merkle.SALT : (number + 1) * merkle.SALT]
            if raw is None:
                return body
            if merkle.leaf_hash(salt, raw) == leaves[number] and (fitting := _fitting(entries, body, leaves)) > most:
                found, most = body, fitting
        return found

    def _wanted(self, batch: Batch, wish: Wish) -> tuple[list[Recorded], Denied | None]:
        """Records of a batch of which nothing is proved, or why they are not what it says."""
        try:
            return list(self.records(batch, wish)), None
        except Denied as denied:
            return [], denied

    def _signed(self, names: Iterable[str], key: Key) -> bytes | None:
        """The evidence of a batch that verifies, of those that say the same; None where none does."""
        for evidence in map(self._objects.get, names):
            try:
                self._signers.proved(evidence, key.system, key.sidecar)
            except Denied:
                continue
            return evidence
        return None

    def _batches_of(self, key: Key) -> Iterator[tuple[list[str], BatchStatement]]:
        """The batches that evidence speaks of, of this instance and in their order, with the evidence's names."""
        if key.system not in self._batches:
            self._read_batches(key.system)
        own = (sidecar_id(self._signers.domain, key.system, key.sidecar), key.instance)
        fitting = [one for one in self._batches[key.system] if (one[1].sidecar, one[1].instance) == own]
        yield from sorted(fitting, key=lambda one: one[1].first_entry)

    def _read_batches(self, system: str) -> None:
        once: dict[bytes, tuple[list[str], BatchStatement]] = {}
        for name, body in self._all(f"evidence/{system}"):
            try:
                batch = BatchStatement.read(payload_of(body))
            except Denied:
                self.leave_out(UNREADABLE)  # so nobody signed it
                continue
            once.setdefault(batch.statement(), ([], batch))[0].append(name)
        self._batches[system] = list(once.values())
        self._leaves[system] = {
            merkle.root(merkle.hashes(body)).hex(): name for name, body in self._all(f"leaves/{system}")
        }
        self._salts[system] = defaultdict(list)
        for _, body in self._all(f"salts/{system}"):
            self._salts[system][len(body)].append(body)
        for name, _ in sorted(self._objects.keys(f"records/{system}")):
            self._records[name.rpartition("/")[0], _first(name)].append(name)

    def _all(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        for number, (name, _) in enumerate(sorted(self._objects.keys(prefix))):
            self._progress(prefix.partition("/")[0], number)
            yield name, self._objects.get(name)

    def _batch(self, key: Key, claimed: BatchStatement) -> Batch | None:
        """Where the parts of a batch lie. None for one of which there are none: it was never taken."""
        leaves = self._leaves[key.system].get(claimed.root)
        place = f"records/{key.system}/{key.sidecar}/{key.instance}/{claimed.file}"
        names = self._records.get((place, claimed.first_byte), [])
        if leaves is None or not names:
            return None
        batch = Batch(
            system=key.system,
            sidecar=key.sidecar,
            instance=key.instance,
            file=claimed.file,
            first=claimed.first_byte,
            last=claimed.last_byte,
            sha256="",
            object=names[0],
            other_lines=0,
            first_entry=claimed.first_entry,
            entries=claimed.entries,
            root=claimed.root,
            payload=payload_digest(claimed.statement()),
            leaves=leaves,
        )
        if len(names) > 1:  # such as one of before an erasure, or of a batch that was refused
            batch.object = max(names, key=lambda name: self._fits(batch, name))
        return batch

    def _fits(self, batch: Batch, name: str) -> tuple[bool, int, str]:
        """Greatest for the object that fits best: all its entries are the batch's, and there are the most of them.

        One with fewer entries proves no erasure: anybody may have left out what they like.
        """
        batch.object = name
        try:
            there = entries(self._objects, batch)
        except Changed:
            self.leave_out(UNREADABLE)
            return False, 0, name
        leaves = merkle.hashes(self._objects.get(str(batch.leaves)))
        if not len(there) == len(leaves) == batch.entries:
            return False, 0, name
        left = sum(one is not None for one in there)
        salts = self.salts(batch, there, leaves)
        return bool(salts) and _fitting(there, salts, leaves) == left, left, name


def _fitting(entries: Entries, salts: bytes, leaves: list[bytes]) -> int:
    """How many entries have their leaf hashes with these salts."""
    parts = (salts[at : at + merkle.SALT] for at in range(0, len(salts), merkle.SALT))
    three = zip(entries, parts, leaves, strict=True)
    return sum(raw is not None and merkle.leaf_hash(salt, raw) == leaf for raw, salt, leaf in three)


def _first(name: str) -> int:
    """The byte of the file at which the batch begins whose records have this name."""
    first = name.rpartition("/")[2].partition("-")[0]
    return int(first) if first.isdecimal() else -1
