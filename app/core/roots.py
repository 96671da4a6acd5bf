"""The roots of a bundle: the trees of data that it owns. OPA lets no two bundles own the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.core.fault import Fault
from app.core.reason_codes import Reason

#: A policy owns a few trees of data; a library of policies, each in a package of its own, some hundred.
MAX_ROOTS = 256

#: A root, a package or a rule as a path: names with slashes between them.
PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(/[A-Za-z_][A-Za-z0-9_-]*)*")


def faults(value: Any) -> Iterator[Fault]:
    """Everything that is wrong with the member `roots` of a manifest."""

    def fault(message: str, remedy: str, reason: Reason = Reason.MANIFEST_ROOTS) -> Fault:
        return Fault(reason, message, remedy, "roots")

    if not isinstance(value, list) or not value:
        yield fault("the manifest names no roots", 'name them, such as {"roots": ["app"]}, or let `build` infer them')
        return
    if len(value) > MAX_ROOTS:
        yield fault(f"more than {MAX_ROOTS} roots", "name the trees above them")
        return
    sound: list[str] = []
    for root in value:
        if root == "":
            yield fault("'' is not a root: it would own everything", "leave roots out, and `build` infers them")
        elif isinstance(root, str) and root.strip().strip("/") != root and PATH.fullmatch(root.strip().strip("/")):
            yield fault(f"{root!r} is not a root: a space or slash too many", f"write {root.strip().strip('/')!r}")
        elif not isinstance(root, str) or not PATH.fullmatch(root):
            yield fault(f"{root!r} is not a root such as 'app' or 'app/authz'", "name the trees of its packages")
        elif is_reserved(root):
            yield fault(f"{root!r} is reserved", "choose another name", Reason.MANIFEST_ROOTS_RESERVED)
        else:
            sound.append(root)
    for number, one in enumerate(sound):
        for other in sound[:number]:
            if one == other:
                yield fault(f"{one!r} overlaps another root: it stands twice", "delete one")
            elif under(one, other) or under(other, one):
                inner, outer = (one, other) if under(one, other) else (other, one)
                yield fault(f"{inner!r} overlaps another root, {outer!r}", f"delete {inner!r}")


def inferred(packages: Iterable[str], data: Mapping[str, Any]) -> list[str]:
    """The smallest trees that hold the packages, and what the data defines beside them. Empty when there is nothing."""
    trees = _highest(set(packages))
    trees |= set(_beside(data, "", frozenset(trees)))
    if len(trees) > MAX_ROOTS:
        trees = {one.split("/", 1)[0] for one in trees}
    return sorted(_highest(trees))


def _highest(paths: set[str]) -> set[str]:
    """Those that lie below no other."""
    return {one for one in paths if not any(one != other and under(one, other) for other in paths)}


def _beside(value: Mapping[str, Any], at: str, trees: frozenset[str]) -> Iterator[str]:
    """Paths of data that lie in none of the trees, as high as they can without holding one."""
    for name, below in value.items():
        path = f"{at}/{name}" if at else name
        if covered(path, trees):
            continue
        if any(under(tree, path) for tree in trees) and isinstance(below, Mapping) and PATH.fullmatch(path):
            yield from _beside(below, path, trees)
        else:
            yield path if PATH.fullmatch(path) or not at else at  # a name that no root may have: the tree above owns it


def is_reserved(path: str) -> bool:
    """Whether a root or package path belongs to Placet or to OPA itself."""
    first = path.split("/", 1)[0]
    return first == "system" or first.startswith("placet")


def under(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies below it."""
    return path == root or path.startswith(root + "/")


def covered(path: str, roots: Sequence[str] | frozenset[str]) -> bool:
    """Whether one of the roots holds `path`."""
    return any(under(path, root) for root in roots)
