"""What tests of decision batches share: record lines, and a control plane with the rules of the real one."""

import json
from concurrent.futures import Future
from hashlib import sha256

from app.core import merkle
from app.core.batch import BatchStatement, payload_digest
from app.core.reason_codes import Reason
from app.sidecar.batch_notes import Batch
from app.sidecar.control_plane import NotAccepted

SIDECAR = "spiffe://example.org/sidecar/payments/till"
OPA = "sha256:" + "d" * 64
STATE_DOCUMENT = b'{"a":"state"}'
STATE = f"sha256:{sha256(STATE_DOCUMENT).hexdigest()}"
POLICY = "sha256:" + "b" * 64


class Crash(Exception):
    """The agent dies here."""


def record(number, allow=True, state=STATE):
    """A decision record, as OPA writes it."""
    result = {"allow": allow, "bundles": {"library": "sha256:" + "a" * 64, "policy": POLICY}, "state": state}
    document = {
        "decision_id": f"00000000-0000-4000-8000-{number:012d}",
        "msg": "Decision Log",
        "path": "placet/decision",
        "result": result,
        "type": "openpolicyagent.org/decision_logs",
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def records(count, start=0):
    return b"".join(record(number, number % 2 == 0) for number in range(start, start + count))


def write(files, number, content):
    """Append to a record file, as OPA does."""
    path = files.records / f"{number:08d}-{number:016x}.log"
    with path.open("ab") as file:
        file.write(content)
    return path


class Plane:
    """Takes batches as the control plane does: verified against their bytes, in order, a repeat only if the same.

    `before` and `after` are called around each call, to fail there.
    """

    def __init__(self):
        self.kept = {}
        self.taken = []
        self.states = {}
        self.calls = []
        self.before = self.after = lambda call: None
        self.broken = False

    def ship_batch(self, says, raw, salts, evidence):
        self.calls.append("batch")
        self.before("batch")
        statement = self.payload(evidence)
        assert says.statement() == statement
        self._take(says, raw, salts, payload_digest(statement))
        self.after("batch")

    def payload(self, evidence):
        """The statement in the evidence. Here the evidence is the statement."""
        return evidence.removeprefix(b"signed: ")

    def put_state(self, digest, document):
        self.calls.append("state")
        self.before("state")
        self.states[digest] = document
        self.after("state")

    def identity(self):
        return "token"

    def _take(self, says, raw, salts, digest):
        if self.broken:
            raise NotAccepted("a break is open", Reason.LINEAGE_BROKEN)
        entries = raw[:-1].split(b"\n")
        if not raw.endswith(b"\n") or not says.matches(entries, merkle.leaf_hashes(salts, entries)):
            self._break(Reason.BATCH_ROOT)
        mine = [batch for batch in self.taken if batch[0].instance == says.instance]
        if any(one == says and known == digest for one, known in mine):
            return
        last = mine[-1] if mine else None
        if says.first_entry != (last[0].next_entry if last else 0):
            self._break(Reason.BATCH_FORK if last and says.first_entry < last[0].next_entry else Reason.BATCH_GAP)
        if says.previous != (last[1] if last else None):
            self._break(Reason.BATCH_FORK)
        held = self.kept.setdefault(says.file, b"")
        if last and says.first_byte != len(held):
            self._break(Reason.BATCH_GAP)
        self.kept[says.file] = held + raw
        self.taken.append((says, digest))

    def _break(self, reason):
        self.broken = True
        raise NotAccepted(f"refused for {reason}", reason)


class Signer:
    """Signs at once. `fail` is called for each batch, to fail there. Remembers what was signed."""

    def __init__(self):
        self.signed = []
        self.fail = lambda batch: None

    def begin(self, unsigned):
        future = Future()
        batch = Batch.of(BatchStatement.read(unsigned.statement), b"")
        assert unsigned == batch.to_sign()
        try:
            self.fail(batch)
        except NotAccepted as error:
            future.set_exception(error)
        else:
            self.signed.append(batch)
            future.set_result(b"signed: " + unsigned.statement)
        return future


def forks(signed):
    """Ranges for which two statements were signed, which is what a fork is."""
    by_range = {}
    for batch in signed:
        by_range.setdefault((batch.says.instance, batch.says.file, batch.says.first_byte), set()).add(batch.digest)
    return [place for place, digests in by_range.items() if len(digests) > 1]
