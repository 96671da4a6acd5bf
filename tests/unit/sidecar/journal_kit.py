"""What tests of the journal share: a control plane with the rules of the real one, a signer, an agent's journal."""

from concurrent.futures import Future

from app.core.link import Link
from app.core.link_names import payload_digest
from app.core.reason_codes import Reason
from app.sidecar.answers import Start
from app.sidecar.control_plane import NotAccepted
from app.sidecar.doubts import Doubts
from app.sidecar.ended_executions import EndedExecutions
from app.sidecar.execution_journal import ExecutionJournal
from app.sidecar.execution_notes import Asked, Done
from app.sidecar.failures import Failures
from app.sidecar.journal import Journal
from app.sidecar.journal_file import JournalFile
from app.sidecar.journal_shipping import CONCERN, VOUCH_HOLDS, JournalShipping

SIDECAR, INSTANCE = "spiffe://example.org/sidecar/payments/till", "0f" * 16
ID, OTHER = "0123456789abcdef", "fedcba9876543210"
POLICY, LIBRARY, STATE, OPA = (f"sha256:{digit * 64}" for digit in "abcd")

DECISION = {
    "allow": True, "reasons": [], "obligations": [], "bundles": {"policy": POLICY, "library": LIBRARY}, "state": STATE,
}  # fmt: skip
CLAIMS = {"sub": "a", "sub_iss": "i", "warrants": []}
REQUEST = {"action": {"name": "refund"}, "resource": {"type": "payment", "id": "p-1"}}


class Crash(Exception):
    """The agent dies here."""


class Plane:
    """Takes the statements of one journal as the control plane does. `before` and `after` may fail."""

    def __init__(self):
        self.links = []
        self.payloads = []
        self.before = self.after = lambda: None
        self.broken = False
        self.states = {}

    def put_state(self, digest, document):
        self.states[digest] = document

    def ship_link(self, evidence):
        self.before()
        payload = evidence.removeprefix(b"signed: ")
        if payload not in self.payloads:
            self._take(payload)
        self.after()
        return self.payloads.index(payload) + 1

    def _take(self, payload):
        if self.broken:
            raise NotAccepted("a break is open", Reason.LINEAGE_BROKEN)
        link = Link.read(payload)
        last = self.payloads[-1] if self.payloads else None
        if link.number != len(self.payloads):
            self.refuse(Reason.LINK_GAP if link.number > len(self.payloads) else Reason.LINK_FORK)
        if link.previous != (payload_digest(last) if last else None):
            self.refuse(Reason.LINK_FORK)
        self.payloads.append(payload)
        self.links.append(link)

    def refuse(self, reason):
        self.broken = True
        raise NotAccepted(f"refused for {reason}", reason)


class Signer:
    """Signs at once. `fail` may raise. Remembers what was signed."""

    def __init__(self):
        self.signed = []
        self.fail = lambda: None

    def begin(self, unsigned):
        future = Future()
        try:
            self.fail()
        except NotAccepted as error:
            future.set_exception(error)
        else:
            self.signed.append(unsigned)
            future.set_result(b"signed: " + unsigned.statement)
        return future


class Agent:
    """As much of an agent as keeps a journal: a new one knows nothing but what is on disk."""

    def __init__(self, directory, plane, signer, workflows=None, instance=INSTANCE):
        directory.mkdir(exist_ok=True)
        self.path = directory / f"journal-{instance}.db"
        self.journal = Journal(JournalFile(self.path, directory / "instance"), instance)
        self.doubts = Doubts({CONCERN: VOUCH_HOLDS}, lambda: None)
        broken = directory / "journal.break"
        self.shipping = JournalShipping(
            self.journal, signer, plane, self.doubts, Failures(), directory / "states", broken
        )
        self.seen = None
        self.room = 100_000
        self.stops = 0
        self.ended = EndedExecutions(lambda: self.room)
        self.executions = ExecutionJournal(
            self.journal, lambda: self.seen, self.ended, self.stopped, workflows, lambda: STATE
        )

    def start(self):
        self.journal.open()
        self.executions.open()
        self.shipping.vouch()
        return self

    def stopped(self):
        self.stops += 1

    def kill(self):
        """Nothing more comes to disk. What SQLite has not committed is rolled back by whoever opens it next."""
        self.journal.close()

    def begin(self, execution=ID, decision="d-1", workflow=None, claims=CLAIMS, request=REQUEST):
        asked = Asked(execution, request, workflow, decision)
        self.executions.start(asked, Start(DECISION, claims, 2_000_000_000), workflow, SIDECAR)

    def step(self, name="build", execution=ID, materials=(), products=(), command=(), **more):
        more = {"decisions": [], "parents": (), "facts": {}, **more}
        return self.executions.step(execution, SIDECAR, Done(name, materials, products), command, more)

    def drain(self):
        for _ in range(100_000):
            if self.shipping.step():
                break

    def reasons(self):
        return [doubt.reason for doubt in self.doubts.current()]
