"""Proof files of a real Sigstore, good and tampered with, for every verifier of them.

`good_proofs(stand)` gives files that must verify, by name; `tampered(stand)` gives files that must not, each with the
reason that our verifier gives. Both are to be verified under `stand.trust_config` (its member `trustedRoot` is what
other verifiers take), with `stand.sidecar` as the one who may sign batches and `stand.releaser` as the one who may
sign releases. `ended_trust(stand)` gives trust configs under which no good proof with a release may verify.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from app.core import merkle, strict_json
from app.core.batch import BatchStatement
from app.core.proof_form import Proof, ReleaseEvidence
from app.core.reason_codes import Reason

from . import proof_tampering as tampering
from .evidence_tampering import evidence_changes
from .proof_parts import (
    ENTRIES,
    MANY,
    NAMELESS,
    NAMES,
    OTHER_POLICY,
    OTHER_SIDECAR,
    POLICY,
    SINGLE,
    STRANGER,
    batch,
    following,
    leaves,
    link,
    provenance,
    salts,
    tests,
)
from .proof_stand import RELEASER, SIDECAR, Stand


@dataclass(frozen=True)
class Signed:
    """Sigstore bundles: of batches, of the release, of another one; and of statements that lie, or are another's."""

    batches: dict[str, bytes]
    release: tuple[bytes, ...]
    other_release: tuple[bytes, ...]
    lies: dict[str, bytes]


@cache
def signed(stand: Stand) -> Signed:
    first = batch()
    many = following(first, MANY)
    single = following(many, SINGLE, file="00000002.log")
    wanted = {
        "first": (SIDECAR, first.statement()),
        "many": (SIDECAR, many.statement()),
        "single": (SIDECAR, single.statement()),
        "provenance": (RELEASER, provenance(POLICY)),
        "link": (RELEASER, link(POLICY)),
        "tests": (RELEASER, tests(POLICY)),
        "other": (RELEASER, provenance(OTHER_POLICY)),
    }
    lies = _lies(first)
    stand.sign({"before": wanted["other"]})  # the log has an entry before, so that proofs have hashes
    found = stand.sign({**wanted, **lies})
    return Signed(
        batches={name: found[name] for name in ("first", "many", "single")},
        release=(found["provenance"], found["link"], found["tests"]),
        other_release=(found["other"],),
        lies={name: found[name] for name in lies},
    )


def _lies(first: BatchStatement) -> dict[str, tuple[str, bytes]]:
    """Statements that verify as evidence, by whoever is named, and must not make a proof."""

    def edited(**changes: Any) -> bytes:
        document = json.loads(first.statement())
        for place, value in changes.items():
            where = document if place in document else document["predicate"]
            where[place] = value
        return strict_json.canonical(document)

    counts = {"count": str(first.entries + 1), "first": "0"}
    twice = first.statement().replace(b'"dropped":"0"', b'"dropped":"0","dropped":"0"')
    root = {"name": "decision-batch", "digest": {"sha256": first.root}}
    return {
        "another sidecar's": (OTHER_SIDECAR, batch(sidecar=OTHER_SIDECAR).statement()),
        "a stranger's": (STRANGER, first.statement()),
        "in another sidecar's name": (SIDECAR, batch(sidecar=OTHER_SIDECAR).statement()),
        "of one more entry": (SIDECAR, edited(entries=counts, others="2")),
        "of one entry less": (SIDECAR, edited(entries={"count": "6", "first": "0"}, others="0")),
        "without the policy": (SIDECAR, edited(policies=[])),
        "without the library": (SIDECAR, edited(libraries=[])),
        "without the state": (SIDECAR, edited(states=[])),
        "without allows": (SIDECAR, edited(allows="0", others=str(first.allows + first.others))),
        "without denials": (SIDECAR, edited(denials="0", others=str(first.denials + first.others))),
        "without others": (SIDECAR, edited(others="0", denials=str(first.denials + first.others))),
        "not canonical": (SIDECAR, json.dumps(json.loads(first.statement())).encode()),
        "with an unknown member": (SIDECAR, edited(predicate={**json.loads(first.statement())["predicate"], "x": "y"})),
        "with a member twice": (SIDECAR, twice),
        "of another type": (SIDECAR, edited(predicateType="https://placet.dev/decision-batch/v2")),
        "about another root": (SIDECAR, edited(subject=[{**root, "digest": {"sha256": "0" * 64}}])),
        "about two roots": (SIDECAR, edited(subject=[root, {**root, "digest": {"sha256": "0" * 64}}])),
        "of a root in capitals": (SIDECAR, edited(root=first.root.upper())),
        "of an allow without a policy": (SIDECAR, batch(NAMELESS).statement()),
        "a stranger's provenance": (STRANGER, provenance(POLICY)),
        "a sidecar's provenance": (SIDECAR, provenance(POLICY)),
    }


def proof(stand: Stand, entries: list[bytes], name: str, index: int, *, release: bool = True) -> Proof:
    hashes = leaves(entries)
    return Proof(
        record=entries[index],
        salt=salts(len(entries))[index],
        leaf=hashes[index],
        index=index,
        path=tuple(merkle.path(hashes, index)),
        batch=signed(stand).batches[name],
        release=ReleaseEvidence(POLICY, signed(stand).release) if release else None,
    )


@cache
def good_proofs(stand: Stand) -> dict[str, bytes]:
    """Proof files that must verify, by name."""
    proofs = {
        name: proof(stand, ENTRIES, "first", index, release=name not in {"message", "no-policy"})
        for index, name in enumerate(NAMES)
    }
    proofs |= {f"thousand-{index}": proof(stand, MANY, "many", index) for index in (0, 511, 512, 999)}
    proofs["single"] = proof(stand, SINGLE, "single", 0)
    erased = {
        "erased": proof(stand, ENTRIES, "first", 0, release=False),
        "erased-single": proof(stand, SINGLE, "single", 0, release=False),
    }
    proofs |= {name: replace(one, record=None, salt=None) for name, one in erased.items()}
    proofs["one-statement"] = replace(proofs["allow"], release=ReleaseEvidence(POLICY, signed(stand).release[:1]))
    return {name: one.write() for name, one in proofs.items()}


#: For each lie: the proof into which it is put, and why that is refused.
LIES = {
    "another sidecar's": ("allow", Reason.EVIDENCE_IDENTITY),
    "a stranger's": ("allow", Reason.EVIDENCE_IDENTITY),
    "in another sidecar's name": ("allow", Reason.PROOF_BATCH),
    "of one more entry": ("last", Reason.PROOF_PATH),
    "of one entry less": ("last", Reason.PROOF_BATCH),
    "without the policy": ("allow", Reason.PROOF_POLICY),
    "without the library": ("allow", Reason.PROOF_BATCH),
    "without the state": ("allow", Reason.PROOF_BATCH),
    "without allows": ("allow", Reason.PROOF_BATCH),
    "without denials": ("deny", Reason.PROOF_BATCH),
    "without others": ("message", Reason.PROOF_BATCH),
    "not canonical": ("allow", Reason.BATCH_MALFORMED),
    "with an unknown member": ("allow", Reason.BATCH_MALFORMED),
    "with a member twice": ("allow", Reason.EVIDENCE_MALFORMED),
    "of another type": ("allow", Reason.BATCH_MALFORMED),
    "about another root": ("allow", Reason.EVIDENCE_SUBJECT),
    "about two roots": ("allow", Reason.BATCH_MALFORMED),
    "of a root in capitals": ("allow", Reason.EVIDENCE_SUBJECT),
}


@cache
def tampered(stand: Stand) -> dict[str, tuple[bytes, Reason]]:
    """Proof files that must be refused, by name, each with the reason that our verifier gives."""
    good = good_proofs(stand)
    allow = good["allow"]
    found: dict[str, tuple[bytes, Reason]] = {}

    def add(name: str, raw: bytes, reason: Reason) -> None:
        assert name not in found, name
        assert raw not in good.values(), name
        found[name] = raw, reason

    for name, raw in tampering.raw_changes(allow):
        add(f"bytes: {name}", raw, Reason.PROOF_MALFORMED)
    for name, edit in tampering.form_changes():
        add(f"form: {name}", tampering.edited(allow, edit), Reason.PROOF_MALFORMED)
    others = [json.loads(good[name]) for name in ("deny", "last")]
    for name, edit, reason in tampering.leaf_and_path_changes(leaves(ENTRIES), others):
        add(f"tree: {name}", tampering.edited(allow, edit), reason)

    pieces = signed(stand)
    documents = {name: json.loads(raw) for name, raw in {**pieces.batches, **pieces.lies}.items()}
    release, other_release = ([json.loads(one) for one in many] for many in (pieces.release, pieces.other_release))
    for name, edit, reason in evidence_changes(stand, documents["many"]):
        add(f"batch: {name}", tampering.edited(allow, lambda proof, edit=edit: edit(proof["batch"])), reason)
    for number, of in enumerate(("release", "attestation")):
        for name, edit, reason in evidence_changes(stand, release[1 - number]):

            def apply(proof: Any, edit: Any = edit, number: int = number) -> None:
                edit(proof["release"]["evidence"][number])

            add(f"{of}: {name}", tampering.edited(allow, apply), reason)

    for name, (into, reason) in LIES.items():
        lie = tampering.edited(good[into], lambda proof, name=name: proof.update(batch=documents[name]))
        add(f"batch: one {name}", lie, reason)
    for name, batch_, reason in (
        ("the next one", documents["many"], Reason.PROOF_PATH),
        ("a release's signature", release[0], Reason.EVIDENCE_IDENTITY),
        ("nothing", {}, Reason.EVIDENCE_MALFORMED),
    ):
        changed = tampering.edited(allow, lambda proof, batch_=batch_: proof.update(batch=batch_))
        add(f"batch: {name} in its place", changed, reason)

    for name, digest, evidence, reason in (
        ("of another policy", OTHER_POLICY, other_release, Reason.PROOF_POLICY),
        ("that takes another policy's name", OTHER_POLICY, release, Reason.PROOF_POLICY),
        ("with evidence about another policy", POLICY, other_release, Reason.EVIDENCE_SUBJECT),
        ("with a piece about another policy", POLICY, [*release, *other_release], Reason.EVIDENCE_SUBJECT),
        ("without evidence", POLICY, [], Reason.EVIDENCE_MISSING),
        ("without its signature", POLICY, release[1:], Reason.EVIDENCE_PREDICATE),
        ("signed by a stranger", POLICY, [documents["a stranger's provenance"]], Reason.EVIDENCE_IDENTITY),
        ("signed by a sidecar", POLICY, [documents["a sidecar's provenance"]], Reason.EVIDENCE_IDENTITY),
        (
            "with a stranger's attestation",
            POLICY,
            [*release, documents["a stranger's provenance"]],
            Reason.EVIDENCE_IDENTITY,
        ),
        ("signed by the batch", POLICY, [documents["first"]], Reason.EVIDENCE_IDENTITY),
        ("with empty evidence", POLICY, [{}], Reason.EVIDENCE_MALFORMED),
    ):
        changed = {"digest": digest, "evidence": evidence}
        add(
            f"release: one {name}",
            tampering.edited(allow, lambda proof, changed=changed: proof.update(release=changed)),
            reason,
        )
    nameless = proof(stand, SINGLE, "single", 0, release=False)
    nameless = replace(
        nameless, record=NAMELESS[0], leaf=leaves(NAMELESS)[0], batch=pieces.lies["of an allow without a policy"]
    )
    add("release: none for an allow", nameless.write(), Reason.PROOF_POLICY)
    add("release: none", tampering.edited(allow, lambda proof: proof.update(release=None)), Reason.PROOF_POLICY)
    whole = {"digest": POLICY, "evidence": release}
    for name in ("message", "no-policy"):
        changed = tampering.edited(good[name], lambda proof: proof.update(release=whole))
        add(f"release: one for {name}", changed, Reason.PROOF_POLICY)
    return found


#: The parts of a trusted root whose trust may end.
ENDS = ("certificateAuthorities", "ctlogs", "tlogs", "timestampAuthorities")


def ended_trust(stand: Stand, **offset: float) -> dict[str, bytes]:
    """Trust configs in which one part's trust ended before anything was signed (or `offset` from now), by part."""
    end = (datetime.now(UTC) + timedelta(**(offset or {"hours": -1}))).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {}
    for part in ENDS:
        document = json.loads(stand.trust_config.read_bytes())
        one = document["trustedRoot"][part][0]
        (one["publicKey"]["validFor"] if "publicKey" in one else one["validFor"])["end"] = end
        found[part] = json.dumps(document).encode()
    return found
