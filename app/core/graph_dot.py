"""The graph of an execution in Graphviz' language, for `dot -Tsvg`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.complaint import printable

_SHAPES = {
    "execution": "doubleoctagon",
    "link": "box",
    "decision": "diamond",
    "warrant": "note",
    "approval": "note",
    "artifact": "folder",
    "policy": "component",
    "library": "component",
    "revision": "component",
    "opa": "component",
}


def dot(document: Mapping[str, Any]) -> str:
    """The graph in a document of `app.core.graph`. What no evidence is of is dashed; so are edges that vouch."""
    lines = ["digraph execution {", "  rankdir=LR;", '  node [fontname="sans-serif", fontsize=10];']
    for node in document["nodes"]:
        shape = _SHAPES.get(node["type"], "ellipse")
        style = "solid" if node["known"] else "dashed"
        label = _quoted(f"{_label(node)}\n{node['digest'].removeprefix('sha256:')[:12]}")
        lines.append(f"  {_quoted(node['digest'])} [label={label}, shape={shape}, style={style}];")
    for edge in document["edges"]:
        style = "dashed" if edge["kind"] in ("vouches-for", "rests-on") else "solid"
        ends = f"{_quoted(edge['from'])} -> {_quoted(edge['to'])}"
        lines.append(f"  {ends} [label={_quoted(edge['kind'])}, style={style}];")
    return "\n".join([*lines, "}"]) + "\n"


def _label(node: Mapping[str, Any]) -> str:
    """What people call a node."""
    if node["type"] == "link" and "kind" in node:
        place = f"{node['system']}/{node['sidecar']} #{node['number']}"
        return f"{node['kind']} {node['step']}\n{place}" if "step" in node else f"{node['kind']}\n{place}"
    if node["type"] == "decision" and "outcome" in node:
        return f"{node['outcome']}\n{node['decision']}"
    if node.get("by"):
        return f"{node['names'][0].rpartition('/')[2]}\n{node['by']}"
    return str(node["names"][0])


def _quoted(text: str) -> str:
    """A quoted string of DOT's: only the quotation mark and the backslash before it have a meaning in it."""
    shown = "\\n".join(printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return f'"{shown}"'
