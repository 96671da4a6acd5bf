"""Journals as a sidecar writes them, signed in plain JSON (see batch_kit)."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from app.core.link import Link, Place, TrustChange
from app.core.link_names import END, ENFORCE, RENEWED, START, STEP, WITHDRAWN, Ref, payload_digest

from .batch_kit import DOMAIN, plain_evidence, sidecar_id

EXECUTION = "018f3c5e7a2b4c6d8e"
POLICY, LIBRARY, STATE, OPA = (f"sha256:{one * 64}" for one in "1234")
AT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def digest(text):
    return payload_digest(text.encode())


@dataclass
class Journal:
    """The journal of one instance of a sidecar: each statement follows the one before."""

    name: str = "one"
    system: str = "payments"
    instance: str = "i1"
    domain: str = DOMAIN
    policy: str = POLICY
    number: int = 0
    previous: str | None = None
    #: Of each execution, the last link's kind and digest, and how many steps there were.
    last: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    enforced: str | None = None
    made: list[Link | TrustChange] = field(default_factory=list)

    @property
    def path(self):
        return f"/api/v1/systems/{self.system}/sidecars/{self.name}/links"

    @property
    def signer(self):
        return sidecar_id(self.name, self.system, self.domain)

    def place(self, **changes):
        at = AT + timedelta(seconds=self.number)
        where = {"sidecar": self.signer, "instance": self.instance, "number": self.number}
        return Place(**{**where, "previous": self.previous, "at": at, **changes})

    def follow(self, made):
        """It was made: the next one follows it."""
        self.previous, self.number = payload_digest(made.statement()), made.number + 1
        if made.kind == ENFORCE:
            self.enforced = self.previous
        if made.execution:
            before = self.last.get(made.execution, ("", "", 0))
            self.last[made.execution] = (made.kind, self.previous, int(made.byproducts.get("steps", before[2])))
        self.made.append(made)
        return made

    def peek_start(self, execution=EXECUTION, *, decisions=(), warrants=(), unresolved=(), again=False, **more):
        materials = [Ref("policy", self.policy), Ref("library", LIBRARY), Ref("state", STATE), *decisions, *warrants]
        if self.enforced:
            materials.append(Ref("link/release/enforce", self.enforced))
        if again:
            kind, before, _ = self.last[execution]
            materials.append(Ref(f"link/{kind}", before))
        said = {
            "execution": execution,
            "subject": {"issuer": "https://tokens.example.org", "id": "job-17"},
            "action": "refund",
            "resource": {"type": "invoice", "id": "in-7"},
            "unresolved": list(unresolved) or ([] if decisions else ["d0"]),
            **more,
        }
        return Link.make(self.place(), START, said, materials=materials)

    def peek_step(
        self, name="load", execution=EXECUTION, *, materials=(), products=(), command=(), facts=None, unresolved=()
    ):
        kind, before, steps = self.last[execution]
        said = {
            "execution": execution,
            "step": name,
            "steps": str(steps + 1),
            "facts": dict(facts or {}),
            "unresolved": list(unresolved),
        }
        before = Ref(f"link/{kind}", before)
        return Link.make(
            self.place(), STEP, said, materials=[before, *materials], products=products, command=command
        )  # fmt: skip

    def peek_end(self, execution=EXECUTION, *, outcome="completed", reason=None):
        kind, before, steps = self.last[execution]
        said = {"execution": execution, "outcome": outcome, "reason": reason, "steps": str(steps)}
        return Link.make(self.place(), END, said, materials=[Ref(f"link/{kind}", before)])

    def peek_twin(self):
        """Another last statement, of the same number."""
        last = self.made[-1]
        return replace(last, place=replace(last.place, at=last.at + timedelta(seconds=1)))

    def start(self, *arguments, **more):
        return self.follow(self.peek_start(*arguments, **more))

    def step(self, *arguments, **more):
        return self.follow(self.peek_step(*arguments, **more))

    def end(self, *arguments, **more):
        return self.follow(self.peek_end(*arguments, **more))

    def enforce(self, evidence=None):
        evidence = evidence or Ref("evidence/https://slsa.dev/provenance/v1", digest("provenance"))
        materials = [Ref("policy", self.policy), Ref("library", LIBRARY), Ref("opa", OPA), evidence]
        said = {"channel": "prod", "sequence": "7"}
        about = Ref("revision", digest("composed"))
        return self.follow(Link.make(self.place(), ENFORCE, said, materials=materials, about=about))

    def lease(self, kind=WITHDRAWN, reason="lineage.broken", detail="a break"):
        assert kind in (WITHDRAWN, RENEWED)
        return self.follow(Link.make(self.place(), kind, {"reason": reason, "detail": detail}))

    def trust(self, before=None, to=STATE, changed=("domain", "quarantine")):
        return self.follow(TrustChange(self.place(), before, to, tuple(changed)))

    def body(self, made, **evidence):
        signed = plain_evidence(made if isinstance(made, bytes) else made.statement(), self.signer, **evidence)
        return {"evidence": signed.decode()}

    def send(self, api, made, **evidence):
        return api.post(self.path, json=self.body(made, **evidence))

    def send_all(self, api):
        """Everything that was made, in order."""
        for made in self.made:
            answer = self.send(api, made, log_index=made.number)
            assert answer.status_code == 200, answer.text
            assert answer.json() == {"number": str(made.number + 1)}
