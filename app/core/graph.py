"""The graph of an execution: what was made of what, and who vouches for it, node by node, joined by digests.

Nodes are named by their digests alone, so whatever two statements name by the same digest is one node: that joins
executions, also those of other systems. An edge goes from what there was to what came of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.core import statements, story, strict_json
from app.core.break_statement import ToldBreak
from app.core.execution_evidence import Found, Key, Piece, Recorded, SignedLink
from app.core.instant import written
from app.core.link import Link
from app.core.link_names import ARTIFACT, ENFORCE, PARENT, START

FORMAT = f"{statements.PLACET}/execution-lineage/v1"

#: What a name's first part says of the thing; of several for one digest the first in this order counts.
_TYPES = ("execution", "link", "decision", "warrant", "approval", "revision", "policy", "library", "state", "opa",
          "evidence", "sidecar", "break", "artifact")  # fmt: skip

Document = dict[str, Any]


def build(found: Found) -> Document:
    """The story and the graph of an execution, of which links are known. The same evidence gives the same document."""
    graph = _Graph()
    for key, links in found.links.items():
        _add_execution(graph, key, links)
    for one in (*found.enforced, *found.events):
        graph.add_link(one)
    for told in found.breaks:
        graph.add_break(told)
    for decision in found.decisions:
        graph.add_decision(decision)
    for digest, pieces in found.releases.items():
        for piece in pieces:
            graph.add_piece(piece, digest, "evidence")
    for (_, warrant, _), approval in found.approvals.items():
        for digest in graph.named(f"warrant/{warrant}"):
            graph.add_piece(approval, digest, "approval")
    for digest in found.states:
        graph.know(digest, archived=True)
    own = found.links[found.key]
    return {
        "format": FORMAT,
        "execution": story.summary(found.key, own),
        "story": story.tell(found),
        "links": [link_document(one) for one in own],
        "executions": [story.summary(key, links) for key, links in sorted(found.links.items()) if key != found.key],
        "nodes": graph.nodes(),
        "edges": graph.edges(),
        "left_out": sorted(set(found.left_out)),
    }


def encode(document: Document) -> bytes:
    """The document as RFC 8785 bytes, so that two answers can be compared."""
    return strict_json.canonical(document)


def link_document(one: SignedLink) -> Document:
    """A link with all that it says."""
    says = one.says
    return {
        "digest": one.digest,
        "number": str(says.number),
        "previous": says.previous,
        "kind": says.kind,
        "at": written(says.at),
        "signed_at": written(one.signed_at),
        "log_index": str(one.log_index),
        "command": list(says.command) if isinstance(says, Link) else [],
        "subject": [statements.resource(*ref) for ref in says.subject],
        "materials": [statements.resource(*ref) for ref in says.materials],
        "byproducts": dict(says.byproducts),
    }


class _Graph:
    def __init__(self) -> None:
        self._nodes: dict[str, Document] = {}
        self._names: dict[str, set[str]] = {}
        self._edges: set[tuple[str, str, str]] = set()

    def name(self, digest: str, name: str) -> None:
        """A statement calls it so."""
        node = self._nodes.setdefault(digest, {"digest": digest, "type": "artifact", "known": False})
        self._names.setdefault(digest, set()).add(name)
        kind = _type(name)
        if _TYPES.index(kind) < _TYPES.index(node["type"]):
            node["type"] = kind

    def know(self, digest: str, **more: Any) -> None:
        """There is evidence of it."""
        if (node := self._nodes.get(digest)) is not None:
            node.update(more, known=True)

    def named(self, name: str) -> list[str]:
        """The digests of what is called so."""
        return sorted(digest for digest, names in self._names.items() if name in names)

    def join(self, source: str, target: str, kind: str) -> None:
        """`target` came of `source`."""
        if source != target:
            self._edges.add((source, target, kind))

    def add_link(self, one: SignedLink) -> None:
        """A statement, and everything that it names."""
        says = one.says
        self.name(one.digest, f"link/{says.kind}")
        for ref in says.materials:
            self.name(ref.digest, ref.name)
            self.join(ref.digest, one.digest, "parent" if ref.name == PARENT else "material")
        for position, ref in enumerate(says.subject):
            self.name(ref.digest, ref.name)
            self.join(one.digest, ref.digest, "product" if position else "about")
        system, sidecar = one.place
        more: Document = {"kind": says.kind, "number": str(says.number), "at": written(says.at), "system": system,
                          "sidecar": sidecar, "log_index": str(one.log_index)}  # fmt: skip
        if (step := says.byproducts.get("step")) is not None:
            more["step"] = step
        self.know(one.digest, **more)

    def add_break(self, one: ToldBreak) -> None:
        """What the control plane says of a break."""
        says = one.says
        self.name(one.digest, f"break/{says.change}")
        self.name(says.subject.digest, says.subject.name)
        self.join(one.digest, says.subject.digest, "about")
        if says.opened is not None:
            self.name(says.opened, "break/opened")
            self.join(says.opened, one.digest, "material")
        self.know(one.digest, kind=says.kind, number=str(says.number), at=written(says.at),
                  log_index=str(one.log_index))  # fmt: skip

    def add_decision(self, one: Recorded) -> None:
        """A record, and what it rests on."""
        self.name(one.leaf, f"decision/{one.id}")
        self.know(one.leaf, decision=one.id, outcome=one.outcome, batch=one.batch, sequence=str(one.sequence),
                  reasons=list(one.reasons))  # fmt: skip
        for digest, name in ((one.policy, "policy"), (one.library, "library"), (one.state, "state")):
            if digest is not None:
                self.name(digest, name)
                self.join(digest, one.leaf, "rests-on")

    def add_piece(self, piece: Piece, about: str, name: str) -> None:
        """What somebody signed about something else."""
        self.name(about, "policy" if name == "evidence" else "warrant")
        self.name(piece.digest, f"{name}/{piece.predicate_type}")
        self.join(piece.digest, about, "vouches-for")
        self.know(piece.digest, **story.signature(piece))

    def nodes(self) -> list[Document]:
        """By digest."""
        return [{**self._nodes[digest], "names": sorted(self._names[digest])} for digest in sorted(self._nodes)]

    def edges(self) -> list[Document]:
        """By both ends and kind."""
        return [{"from": source, "to": target, "kind": kind} for source, target, kind in sorted(self._edges)]


def _add_execution(graph: _Graph, key: Key, links: Iterable[SignedLink]) -> None:
    for one in links:
        graph.add_link(one)
        graph.know(one.says.subject[0].digest, system=key.system, sidecar=key.sidecar, execution=key.id)


def _type(name: str) -> str:
    """What a name of a statement's stands for. Nobody's own names count: they begin with `artifact/`."""
    kind = name.partition("/")[0]
    if name.startswith(ARTIFACT):
        return "artifact"
    if name == "trust-state":
        return "state"
    if name in (f"link/{START}", f"link/{ENFORCE}"):
        return "link"
    return kind if kind in _TYPES else "artifact"
