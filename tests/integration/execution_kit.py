"""Proof files of executions of a real Sigstore, good and tampered with, for every verifier of them (see proof_kit)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

from app.core import merkle, strict_json
from app.core.execution_proof_form import ExecutionProof
from app.core.link import Link, Place
from app.core.link_names import END, START, STEP, Ref, decision_ref, payload_digest
from app.core.proof_form import Proof, ReleaseEvidence

from .proof_parts import (
    ENTRIES,
    EXECUTION,
    LIBRARY,
    NAMES,
    OTHER_POLICY,
    OTHER_SIDECAR,
    POLICY,
    STATE,
    batch,
    leaves,
    provenance,
    salts,
)
from .proof_stand import RELEASER, SIDECAR, Stand

INSTANCE = batch().instance
AT = datetime(2026, 1, 1, tzinfo=UTC)

#: The entries of the batch by which the execution starts, and that its steps name: see proof_parts.ENTRIES.
STARTS, NAMED = 4, (0, 1)
IDS = [json.loads(ENTRIES[number])["decision_id"] for number in (STARTS, *NAMED)]
LEAVES = leaves(ENTRIES)
DECIDED, FIRST, SECOND = (
    decision_ref(one, LEAVES[number]) for one, number in zip(IDS, (STARTS, *NAMED), strict=True)
)  # fmt: skip


#: A decision that was made in no execution, whatever its request said.
OUTSIDE = decision_ref(json.loads(ENTRIES[6])["decision_id"], LEAVES[6])


def digest(text: str) -> str:
    return payload_digest(text.encode())


def place(number: int, **changed: Any) -> Place:
    """A place in the journal; what was stated between the links of the execution is left out."""
    where = {"sidecar": SIDECAR, "instance": INSTANCE, "number": number, "previous": digest("before"), "at": AT}
    return Place(**where | changed)


def start(
    decided: Ref | None = DECIDED, policy: str = POLICY, *, number: int = 3, before: Link | None = None, **changed: Any
) -> Link:
    said = {
        "execution": EXECUTION,
        "subject": {"issuer": "https://tokens.example.org", "id": 'job "17" \u20ac\n'},
        "action": "refund",
        "resource": {"type": "payment", "id": "p-1"},
        "unresolved": [] if decided else ["lost"],
    }
    materials = [Ref("policy", policy), Ref("library", LIBRARY), Ref("state", STATE), Ref("warrant/w-1", digest("w")),
                 Ref("approval/w-1", digest("approval"))]  # fmt: skip
    materials += [decided] if decided else []
    materials += [Ref("link/execution/start", payload_digest(before.statement()))] if before else []
    return Link.make(place(number, **changed), START, said, materials=materials)


def step(before: Link, number: int, steps: int = 1, decisions: tuple[Ref, ...] = (), **changed: Any) -> Link:
    said = {
        "execution": EXECUTION,
        "step": "load",
        "steps": str(steps),
        "facts": {"exit": "0", "z": '"'},
        "unresolved": [],
    }
    materials = [Ref(f"link/{before.kind}", payload_digest(before.statement())), Ref("link/parent", digest("parent"))]
    materials += [Ref('artifact/orders "2026"', digest("orders")), *decisions]
    made = [Ref("artifact/report \u20ac", digest("report"))]
    return Link.make(
        place(number, **changed), STEP, said, materials=materials, products=made, command=["make", 'a "b"']
    )


def end(before: Link, number: int, steps: int, outcome: str = "completed", reason: str | None = None, *by: Ref) -> Link:
    said = {"execution": EXECUTION, "outcome": outcome, "reason": reason, "steps": str(steps)}
    named = Ref(f"link/{before.kind}", payload_digest(before.statement()))
    return Link.make(place(number), END, said, materials=[named, *by])


def unsorted(first: Link, one: Link) -> Iterator[tuple[str, bytes]]:
    """Statements of which a list is not in its order, or names something twice."""

    def changed(link: Link, change: Callable[[Any], None]) -> bytes:
        document = strict_json.load_object(link.statement())
        change(document["predicate"])
        return strict_json.canonical(document)

    parents = [{"digest": {"sha256": number * 64}, "name": "link/parent"} for number in "0f"]
    warrants = [{"digest": {"sha256": "0" * 64}, "name": name} for name in ("warrant/w-3", "warrant/w-2")]
    named = FIRST.name.removeprefix("decision/")
    yield "parents unsorted", changed(one, lambda says: says["materials"].extend(parents))
    yield "a parent twice", changed(one, lambda says: says["materials"].append(says["materials"][-1]))
    approvals = [{"digest": {"sha256": "0" * 64}, "name": f"approval/w-{number}"} for number in "01"]
    yield "approvals unsorted", changed(first, lambda says: says["materials"].insert(1, approvals[1]))
    yield "an approval of no warrant", changed(first, lambda says: says["materials"].insert(0, approvals[0]))
    yield "warrants unsorted", changed(first, lambda says: says["materials"].extend(warrants))
    for name, lost in (("unsorted", ["b", "a"]), ("twice", ["a", "a"]), ("named", [named])):
        yield f"unresolved {name}", changed(one, lambda says, lost=lost: says["byproducts"].update(unresolved=lost))
    yield "facts unsorted", one.statement().replace(b'"exit":"0","z":"\\""', b'"z":"\\"","exit":"0"')


@cache
def signed(stand: Stand) -> dict[str, bytes]:
    """Everything that is signed, by name; statements of the sidecar itself that do not fit together among it."""
    first = start()
    one = step(first, 5, 1, (FIRST,))
    two = step(one, 6, 2, (SECOND,))
    alone = start(None)
    stopped_by = end(two, 9, 2, "stopped", "identity.grant", Ref("state", digest("newer state"))).statement()
    wanted = {
        "batch": batch().statement(),
        "start": first.statement(),
        "one": one.statement(),
        "two": two.statement(),
        "end": end(two, 9, 2).statement(),
        "stopped": end(two, 9, 2, "stopped", "workflow.violated").statement(),
        "stopped by a state": stopped_by,
        "again": start(number=4, before=first).statement(),
        "alone": alone.statement(),
        "alone ended": end(alone, 4, 0, "failed").statement(),
        # What a sidecar could sign, and must not.
        "failed by a state": stopped_by.replace(b'"stopped"', b'"failed"'),
        "earlier number": step(first, 2, 1, (FIRST,)).statement(),
        "outsider": step(first, 5, 1, (OUTSIDE,)).statement(),
        "uncounted": step(first, 5, 2, (FIRST,)).statement(),
        "end uncounted": end(two, 9, 3).statement(),
        "other policy": start(policy=OTHER_POLICY).statement(),
        "other instance": start(instance="another").statement(),
        "other decision": start(Ref(DECIDED.name, FIRST.digest)).statement(),
        **dict(unsorted(first, step(first, 5, 1, (FIRST,)))),
    }
    by = {name: (SIDECAR, statement) for name, statement in wanted.items()}
    by["of another"] = (OTHER_SIDECAR, first.statement())
    by["provenance"] = (RELEASER, provenance(POLICY))
    return stand.sign(by)


def decision(stand: Stand, number: int, *, erased: bool = False) -> Proof:
    """The proof of an entry of the batch."""
    release = ReleaseEvidence(POLICY, (signed(stand)["provenance"],))
    return Proof(
        record=None if erased else ENTRIES[number],
        salt=None if erased else salts(len(ENTRIES))[number],
        leaf=LEAVES[number],
        index=number,
        path=tuple(merkle.path(LEAVES, number)),
        batch=signed(stand)["batch"],
        release=None if erased or number == NAMES.index("no-policy") else release,
    )


def proof(stand: Stand, names: str = "start, one, two, end", numbers: tuple[int, ...] = (STARTS, *NAMED)) -> bytes:
    """The proof file of links by their names, with decisions by their numbers: negative, if the record is erased."""
    links = tuple(signed(stand)[name] for name in names.split(", ")) if names else ()
    decisions = tuple(decision(stand, abs(number), erased=number < 0) for number in numbers)
    return ExecutionProof(links, decisions).write()


def good_proofs(stand: Stand) -> dict[str, bytes]:
    """Files that must verify."""
    return {
        "whole": proof(stand),
        "stopped": proof(stand, "start, one, two, stopped"),
        "stopped by a state": proof(stand, "start, one, two, stopped by a state"),
        "no end": proof(stand, "start, one, two"),
        "started alone": proof(stand, "start", (STARTS,)),
        "tried again": proof(stand, "start, again", (STARTS,)),
        "no decision": proof(stand, "alone, alone ended", ()),
        "an erased record": proof(stand, numbers=(STARTS, NAMED[0], -NAMED[1])),
    }


def tampered(stand: Stand) -> dict[str, tuple[bytes, str]]:
    """Files that must not verify, each with the reason that our verifier gives."""
    found = {
        "a step is missing": (proof(stand, "start, two, end"), "link.gap"),
        "no start": (proof(stand, "one, two, end"), "link.gap"),
        "steps swapped": (proof(stand, "start, two, one, end"), "link.gap"),
        "two starts": (proof(stand, "start, start, one, two, end"), "link.gap"),
        "again alone": (proof(stand, "again", (STARTS,)), "link.gap"),
        "a step twice": (proof(stand, "start, one, one, two, end"), "link.gap"),
        "an end that a state made fail": (proof(stand, "start, one, two, failed by a state"), "link.malformed"),
        "two ends": (proof(stand, "start, one, two, end, end"), "link.fork"),
        "another sidecar's start": (proof(stand, "of another, one, two, end"), "evidence.identity"),
        "a batch as a link": (proof(stand, "start, one, batch, end"), "link.malformed"),
        "an earlier number": (proof(stand, "start, earlier number", (STARTS, NAMED[0])), "link.fork"),
        "steps are not counted": (proof(stand, "start, uncounted", (STARTS, NAMED[0])), "link.gap"),
        "the end counts otherwise": (proof(stand, "start, one, two, end uncounted"), "link.gap"),
        "the start names another policy": (proof(stand, "other policy", (STARTS,)), "proof.policy"),
        "the start is of another instance": (proof(stand, "other instance", (STARTS,)), "proof.batch"),
        "the record is another's": (proof(stand, "other decision", (NAMED[0],)), "proof.leaf"),
        "a decision of no execution": (proof(stand, "start, outsider", (STARTS, 6)), "proof.leaf"),
        "a decision is missing": (proof(stand, numbers=(STARTS, NAMED[0])), "proof.missing"),
        "a decision more": (proof(stand, numbers=(STARTS, *NAMED, 3)), "proof.batch"),
    }
    for name in ("parents unsorted", "a parent twice", "unresolved unsorted", "unresolved twice", "unresolved named",
                 "facts unsorted"):  # fmt: skip
        found[name] = (proof(stand, f"start, {name}", (STARTS, NAMED[0])), "link.malformed")
    found["warrants unsorted"] = (proof(stand, "warrants unsorted", (STARTS,)), "link.malformed")
    for name, change, reason in (
        ("unknown member", lambda one: one.update(more=1), "proof.malformed"),
        ("no format", lambda one: one.pop("format"), "proof.malformed"),
        ("a decision's format", lambda one: one.update(format="https://placet.dev/proof/v1"), "proof.malformed"),
        ("no links", lambda one: one.update(links=[]), "proof.malformed"),
        ("no releases", lambda one: one.update(releases={}), "proof.malformed"),
        ("a release more", lambda one: one["releases"].update({OTHER_POLICY: []}), "proof.malformed"),
        ("an unsigned release", lambda one: one["releases"][POLICY].clear(), "evidence.missing"),
        ("a batch vouches for a release", lambda one: one["releases"].update({POLICY: one["links"]}), "evidence."),
        ("decisions out of order", lambda one: one["decisions"].reverse(), "proof.malformed"),
        ("a decision twice", lambda one: one["decisions"].append(one["decisions"][-1]), "proof.malformed"),
        ("another index", lambda one: one["decisions"][0].update(index="6"), "proof.path"),
        ("another record", lambda one: one["decisions"][0].update(record="e30="), "proof.leaf"),
        ("another digest", lambda one: one["decisions"][0].update(release=OTHER_POLICY), "proof.malformed"),
        (
            "inline release",
            lambda one: one["decisions"][0].update(release={"digest": POLICY, "evidence": []}),
            "proof.",
        ),
    ):
        document = strict_json.load_object(proof(stand))
        change(document)
        found[name] = (strict_json.canonical(document), reason)
    whole = proof(stand)
    found["other spelling"] = (whole.replace(b'{"decisions"', b'{ "decisions"', 1), "proof.malformed")
    found["cut short"] = (whole[:-1], "proof.malformed")
    for name, at in (
        ("a bit of a link", whole.index(b'"links"') + 900),
        ("a bit of a record", whole.index(b'"record"') + 40),
    ):
        found[name] = (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], "")
    return found
