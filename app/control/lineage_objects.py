"""Evidence that lies in the object store: what both ways to tell an execution's story read alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from app.control import raw_records, record_lines
from app.control.links import approval_key
from app.control.objects import Objects
from app.control.plane import StatementVerifier
from app.control.problems import NotFound
from app.control.raw_records import Entries
from app.control.record_lines import Line
from app.control.sidecar_statement import payload_of
from app.control.store import Batch
from app.core import merkle, proof_release, statements, strict_json
from app.core.errors import Denied
from app.core.evidence import claimed_signer
from app.core.execution_evidence import MAX_DECISIONS, Piece, Recorded
from app.core.link_names import payload_digest
from app.core.proof_form import MAX_PIECES
from app.core.reason_codes import Reason
from app.core.record_entry import read_entry
from app.core.targets import ATTESTATIONS_FILE, SIGNATURE_FILE
from app.core.verification_policy import VerificationPolicy
from app.core.warrant_request import APPROVAL

_STEP = "stored evidence"

#: Batches that are read for one answer: anybody may name an execution in what is then denied, once in each batch.
#: Those that links name come first, and are counted apart.
MAX_NAMED_BATCHES = MAX_DECISIONS
MAX_OWN_BATCHES = 250


@dataclass(frozen=True)
class Wish:
    """Which records of a batch are looked for: of these decisions, or that name this execution."""

    #: Leaf hashes `sha256:…` by decision, as links name them.
    named: Mapping[str, str]
    execution: str | None

    def holds(self, line: Line) -> bool:
        """Whether a record is looked for by what it says."""
        return line.decision_id in self.named or (self.execution is not None and line.execution == self.execution)

    def names(self, one: Recorded) -> bool:
        """Whether a link names the record."""
        return one.id in self.named or one.leaf in self.named.values()


class ObjectEvidence:
    """Reads and verifies what is signed of releases and warrants, and finds records in batches."""

    def __init__(self, objects: Objects, verify: StatementVerifier) -> None:
        """`verify`: by the Sigstore instance that vouches for releases and approvals."""
        self._objects = objects
        self._verify = verify
        #: What an answer lacks, in its own words.
        self.left_out: list[str] = []
        self._room = {True: MAX_NAMED_BATCHES, False: MAX_OWN_BATCHES}

    def leave_out(self, what: str) -> None:
        """Say in the answer that there is more of this."""
        if what not in self.left_out:
            self.left_out.append(what)

    def has_room(self, *, named: bool, own: bool) -> bool:
        """Whether one more batch counts for this answer, of which links name records or not; else the answer says so.

        `own`: it is asked for the execution that was asked for.
        """
        if self._room[named]:
            self._room[named] -= 1
            return True
        self.leave_out("decisions" if own else "decisions of other executions")
        return False

    def release(self, digest: str) -> list[Piece]:
        """What was signed about a policy, the provenance first; each with its signer if it verifies."""
        found: dict[str, Piece] = {}
        for raw in self._pieces(digest):
            piece = self._piece(raw, digest)
            found[piece.digest] = max(found.get(piece.digest, piece), piece, key=_proved)
        first = sorted(found.values(), key=lambda one: (one.predicate_type != statements.PROVENANCE, one.digest))
        return first[:MAX_PIECES]

    def approval(self, system: str, warrant: str, digest: str) -> Piece | None:
        """Who approved a warrant by the statement of this digest, if that lies beside the executions started by it."""
        try:
            raw = self._objects.get(approval_key(system, warrant))
        except NotFound:
            return None
        if payload_digest(payload_of(raw)) != digest:
            return None
        piece = self._piece(raw, _subject(raw))
        said = _statement(raw).get("predicate")
        named = isinstance(said, dict) and (said.get("system"), said.get("warrant")) == (system, warrant)
        if piece.problem is None and not (named and piece.predicate_type == APPROVAL):
            return Piece(piece.predicate_type, piece.digest, None, None, problem=str(Reason.EVIDENCE_SUBJECT))
        return piece

    def has_state(self, system: str, digest: str) -> bool:
        """Whether a trust state is archived, and is what its digest says."""
        try:
            body = self._objects.get(f"states/{system}/{digest.removeprefix('sha256:')}.json")
        except NotFound:
            return False
        return f"sha256:{sha256(body).hexdigest()}" == digest

    def records(self, batch: Batch, wish: Wish) -> Iterator[Recorded]:
        """Records of a signed batch, as the batch's root commits to them. Raises `Denied` for changed ones."""
        leaves = merkle.hashes(self._objects.get(str(batch.leaves)))
        if len(leaves) != batch.entries or merkle.root(leaves).hex() != batch.root:
            raise _changed(Reason.PROOF_PATH, f"the leaf hashes of the batch {batch.payload}")
        entries = raw_records.entries(self._objects, batch)
        if len(entries) != len(leaves):
            raise _changed(Reason.PROOF_LEAF, f"the records of the batch {batch.payload}")
        lines = record_lines.read_lines(raw for raw in entries if raw is not None)
        salts, by_leaf = None, frozenset(wish.named.values())
        for number, (raw, leaf) in enumerate(zip(entries, leaves, strict=True)):
            line = None if raw is None else next(lines)
            if f"sha256:{leaf.hex()}" not in by_leaf and (line is None or not wish.holds(line)):
                continue
            salts = salts or self.salts(batch, entries, leaves)
            salt = salts[merkle.SALT * number : merkle.SALT * (number + 1)]
            if raw is not None and (len(salt) != merkle.SALT or merkle.leaf_hash(salt, raw) != leaf):
                raise _changed(Reason.PROOF_LEAF, f"entry {number} of the batch {batch.payload}")
            yield _recorded(batch, number, leaf, raw, line, wish)

    def salts(self, batch: Batch, entries: Entries, leaves: list[bytes]) -> bytes:
        """The salts of a batch, one after the other."""
        return self._objects.get(str(batch.salts))

    def _pieces(self, digest: str) -> Iterator[bytes]:
        for key, _ in sorted(self._objects.keys(f"targets/releases/{digest.removeprefix('sha256:')}")):
            if key.endswith(f".{SIGNATURE_FILE}"):
                yield self._objects.get(key)
            elif key.endswith(f".{ATTESTATIONS_FILE}"):
                yield from filter(None, self._objects.get(key).split(b"\n"))

    def _piece(self, raw: bytes, subject: str) -> Piece:
        statement = _statement(raw)
        predicate_type, predicate = str(statement.get("predicateType", "")), statement.get("predicate")
        digest = payload_digest(payload_of(raw))
        try:
            policy = VerificationPolicy(identities=[claimed_signer(raw, _STEP)])
            verified = self._verify(raw, subject=subject, policy=policy, step=_STEP)
        except Denied as denied:
            return Piece(predicate_type, digest, None, None, problem=str(denied.reason))
        said = predicate if isinstance(predicate, dict) else {}
        commits = tuple(map(str, proof_release.commits(said))) if predicate_type == statements.PROVENANCE else ()
        result = str(said.get("result", "")) if predicate_type == statements.TEST_RESULT else None
        return Piece(predicate_type, digest, verified.signer, verified.signed_at, commits, result)


def _recorded(batch: Batch, number: int, leaf: bytes, raw: bytes | None, line: Line | None, wish: Wish) -> Recorded:
    digest = f"sha256:{leaf.hex()}"
    entry = None if raw is None else read_entry(raw)
    erased = next((name for name, named in wish.named.items() if named == digest), "")
    return Recorded(
        id=line.decision_id if line else erased,
        leaf=digest,
        batch=str(batch.payload),
        system=batch.system,
        sidecar=batch.sidecar,
        instance=batch.instance,
        sequence=(batch.first_entry or 0) + number,
        time_ns=line.time_ns if line else None,
        outcome=line.outcome if line else ("erased" if raw is None else "unreadable"),
        reasons=tuple(line.reasons) if line else (),
        subject=(line.subject_issuer, line.subject_id) if line else (None, None),
        action=line.action if line else None,
        resource=(line.resource_type, line.resource_id) if line else (None, None),
        policy=entry.policy if entry else None,
        library=entry.library if entry else None,
        state=entry.state if entry else None,
        execution=line.execution if line else None,
    )


def _proved(piece: Piece) -> tuple[bool, float]:
    """What verifies counts more than what does not, and of two signatures the earlier one."""
    return piece.problem is None, -piece.signed_at.timestamp() if piece.signed_at else 0.0


def _statement(raw: bytes) -> dict[str, Any]:
    """What a Sigstore bundle says, of which nothing is proved; empty where it says nothing."""
    try:
        return strict_json.load_object(payload_of(raw))
    except strict_json.StrictJSONError:
        return {}


def _subject(raw: bytes) -> str:
    try:
        return f"sha256:{_statement(raw)['subject'][0]['digest']['sha256']}"
    except (LookupError, TypeError):
        return "sha256:"


def _changed(reason: Reason, what: str) -> Denied:
    return Denied(reason, f"{what} were changed in the store; placet server fsck names the place", step=_STEP)
