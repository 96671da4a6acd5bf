"""The story of an execution in the order in which things happened, from the signatures on its policy to its end.

The journal's own order is the authority: clocks may step. A decision that a link names comes before that link; another
one where its record's time says.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.core.break_statement import ToldBreak
from app.core.execution_evidence import Found, Key, Piece, Recorded, SignedLink
from app.core.instant import written
from app.core.link import Link
from app.core.link_names import END, START

Entry = dict[str, Any]

_NO_TIME = "1970-01-01T00:00:00Z"


def summary(key: Key, links: Sequence[SignedLink]) -> Entry:
    """An execution in short. `links`: at least one, in their order."""
    first, last = links[0], links[-1]
    started = first.says.byproducts if first.says.kind == START else {}
    ended = last.says.byproducts if last.says.kind == END else {}
    return {
        "id": key.id,
        "system": key.system,
        "sidecar": first.says.sidecar,
        "instance": key.instance,
        "digest": first.says.subject[0].digest,
        "subject": started.get("subject"),
        "action": started.get("action"),
        "resource": started.get("resource"),
        "workflow": started.get("workflow") or None,
        "started_at": written(first.says.at) if started else None,
        "ended_at": written(last.says.at) if ended else None,
        "outcome": ended.get("outcome"),
        "reason": ended.get("reason"),
        "steps": str(sum(one.says.kind == "execution/step" for one in links)),
    }


def tell(found: Found) -> list[Entry]:
    """What happened, in order."""
    own = found.links[found.key]
    before = [_release(digest, piece) for digest, pieces in sorted(found.releases.items()) for piece in pieces]
    named = {ref.digest for one in own for ref in one.says.materials}
    before += [_approval(warrant, piece) for (_, warrant, digest), piece in sorted(found.approvals.items())
               if digest in named]  # fmt: skip
    before.sort(key=lambda one: str(one["at"] or _NO_TIME))
    before += [_link(one) for one in found.enforced if one.digest in named]

    journal = sorted({one.digest: one for one in (*own, *found.events)}.values(), key=lambda one: one.says.number)
    records = [one for one in found.decisions if (one.system, one.sidecar, one.instance) == found.key[:3]]
    by_leaf = {one.leaf: one for one in records}
    others = sorted((one for one in records if one.leaf not in named and one.execution == found.key.id), key=_when)
    # Where some were left out nothing can be said of what is not there.
    there = None if "decisions" in found.left_out else {(one.id, one.leaf) for one in found.decisions}
    breaks = sorted(found.breaks, key=lambda each: each.says.at)
    told: list[Entry] = []
    for one in journal:
        while breaks and one is not own[0] and breaks[0].says.at < one.says.at:
            told.append(_break(breaks.pop(0)))
        here: list[tuple[Recorded, SignedLink | None]] = [
            (by_leaf.pop(ref.digest), one) for ref in one.says.materials if ref.digest in by_leaf
        ]
        until = (int(one.says.at.timestamp()) + 1) * 1_000_000_000
        while others and one is not own[0] and _when(others[0])[0] < until:
            here.append((others.pop(0), None))
        told += [_decision(*each) for each in sorted(here, key=lambda each: each[0].sequence)]
        told.append(_link(one) | {"missing": _missing(one, there)})
    return before + told + [_decision(one, None) for one in others] + [_break(one) for one in breaks]


def signature(piece: Piece) -> Entry:
    """Who signed something, and when."""
    return {
        "by": piece.signer and piece.signer.identity,
        "issuer": piece.signer and piece.signer.issuer,
        "at": piece.signed_at and written(piece.signed_at),
        "predicate_type": piece.predicate_type,
        "commits": list(piece.commits),
        "result": piece.result,
        "problem": piece.problem,
    }


def _when(one: Recorded) -> tuple[int, int]:
    return one.time_ns or 0, one.sequence


def _missing(one: SignedLink, there: set[tuple[str, str]] | None) -> list[str]:
    """Decisions that a link names, and that no stored batch holds as it says."""
    if there is None or not isinstance(one.says, Link):
        return []
    return sorted(name for name, leaf in one.says.decisions.items() if (name, leaf) not in there)


def _release(digest: str, piece: Piece) -> Entry:
    return {"what": "release/signed", "policy": digest, "digest": piece.digest, **signature(piece)}


def _approval(warrant: str, piece: Piece) -> Entry:
    return {"what": "warrant/approved", "warrant": warrant, "digest": piece.digest, **signature(piece)}


def _link(one: SignedLink) -> Entry:
    says = one.says
    entry: Entry = {
        "what": says.kind,
        "at": written(says.at),
        "digest": one.digest,
        "number": str(says.number),
        "log_index": str(one.log_index),
        **{name: value for name, value in says.byproducts.items() if name != "execution"},
    }
    if isinstance(says, Link) and says.execution is not None:
        entry["warrants"] = _names(says, "warrant")
        entry["approvals"] = _names(says, "approval")
        entry["decisions"] = _names(says, "decision")
        entry["took"] = _names(says, "artifact")
        entry["made"] = sorted(ref.name.removeprefix("artifact/") for ref in says.products)
    for ref in says.materials:
        if ref.name in ("policy", "library", "state"):
            entry[ref.name] = ref.digest
    return entry


def _break(one: ToldBreak) -> Entry:
    says = one.says
    return {
        "what": f"lineage/{says.change}",
        "at": written(says.at),
        "digest": one.digest,
        "log_index": str(one.log_index),
        "break": str(says.number),
        "kind": says.kind,
        "detail": says.detail,
        "stops": says.stops,
        "stops_at": says.stops_at and written(says.stops_at),
        "by": says.by,
        "reason": says.reason,
    }


def _names(says: Link, kind: str) -> list[str]:
    return sorted(ref.name.partition("/")[2] for ref in says.materials if ref.name.partition("/")[0] == kind)


def _decision(one: Recorded, named_by: SignedLink | None) -> Entry:
    return {
        "what": "decision",
        "at": None if one.time_ns is None else _time_of(one.time_ns),
        "decision": one.id,
        "outcome": one.outcome,
        "reasons": list(one.reasons),
        "action": one.action,
        "resource": {"type": one.resource[0], "id": one.resource[1]},
        "subject": {"issuer": one.subject[0], "id": one.subject[1]},
        "leaf": one.leaf,
        "batch": one.batch,
        "sequence": str(one.sequence),
        "named_by": named_by and named_by.digest,
    }


def _time_of(time_ns: int) -> str:
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
