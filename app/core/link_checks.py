"""What a link must be beyond the form of its members: what it is about, and what it may name, by its kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from app.core import link_form
from app.core.link_form import MAX_STEPS
from app.core.link_names import ARTIFACT, END, ENFORCE, PARENT, RENEWED, START, STEP, WITHDRAWN, Ref
from app.core.link_reading import malformed

#: Of these one may name several.
_SEVERAL = re.compile(r"evidence/.+|link/parent")

#: What the materials of each kind may be called: how often at least, and at most.
_MATERIALS: dict[str, dict[str, tuple[int, int]]] = {
    START: {
        r"decision/[A-Za-z0-9-]{1,64}": (0, 1),
        r"warrant/[A-Za-z0-9_-]{1,64}": (0, link_form.MAX_WARRANTS),
        # By which one of them was issued.
        r"approval/[A-Za-z0-9_-]{1,64}": (0, link_form.MAX_WARRANTS),
        "policy": (1, 1),
        "library": (1, 1),
        "state": (1, 1),
        "link/release/enforce": (0, 1),
        # Where the same execution is started again.
        "link/execution/(start|step)": (0, 1),
    },
    STEP: {
        "link/execution/(start|step)": (1, 1),
        r"decision/[A-Za-z0-9-]{1,64}": (0, link_form.MAX_DECISIONS),
        PARENT: (0, link_form.MAX_PARENTS),
        r"artifact/.+": (0, link_form.MAX_ARTIFACTS),
    },
    # The trust state by which it was stopped.
    END: {"link/execution/(start|step)": (1, 1), "state": (0, 1)},
    ENFORCE: {"policy": (1, 1), "library": (1, 1), "opa": (1, 1), "evidence/.+": (1, link_form.MAX_EVIDENCE)},
    WITHDRAWN: {},
    RENEWED: {},
}


def check(
    kind: str,
    subject: Sequence[Ref],
    materials: Sequence[Ref],
    command: Sequence[str],
    about: Ref | None,
    said: link_form.Part,
) -> None:
    """Raise `Denied` with `link.malformed` unless the parts of a link fit together.

    `about`: what the link must be about; None: a composed bundle, of whatever digest. `said`: its byproducts.
    """
    _check_names(kind, subject, materials, about or Ref("revision", subject[0].digest))
    if command and kind != STEP:
        raise malformed("only steps have a command", "command")
    _check_said(kind, [one.name for one in materials], said)


def _check_names(kind: str, subject: Sequence[Ref], materials: Sequence[Ref], about: Ref) -> None:
    products = subject[1:]
    if subject[0] != about:
        raise malformed(f"the subject is not {about.name}", "subject")
    if products and (kind != STEP or not all(one.name.startswith(ARTIFACT) for one in products)):
        raise malformed(f"only steps have products, named {ARTIFACT}…", "subject")
    for where, refs in (("materials", materials), ("subject", products)):
        if list(refs) != sorted(set(refs)):
            raise malformed("not sorted, or one stands twice", where)
        counted = Counter(one.name for one in refs if not _SEVERAL.fullmatch(one.name))
        if any(count > 1 for count in counted.values()):
            raise malformed("one name for two things", where)
        if not all(one.name.isprintable() and one.name != ARTIFACT for one in refs):
            raise malformed("a name holds what a terminal would obey, or nothing", where)
    names = [one.name for one in materials]
    known = 0
    for pattern, (least, most) in _MATERIALS[kind].items():
        count = sum(re.fullmatch(pattern, name) is not None for name in names)
        known += count
        if not least <= count <= most:
            raise malformed(f"{count} of {pattern} are among them; {least} to {most} may be", "materials")
    if known != len(names):
        raise malformed(f"{kind} has no such materials", "materials")
    if any(f"warrant/{name.removeprefix('approval/')}" not in names for name in names if name.startswith("approval/")):
        raise malformed("an approval is of a warrant that is not among them", "materials")


def _check_said(kind: str, names: Sequence[str], said: link_form.Part) -> None:
    """What the form of the members alone does not say."""
    named = [one.partition("/")[2] for one in names if one.startswith("decision/")]
    if isinstance(said, (link_form.Start, link_form.Step)):
        lost = said.unresolved
        if lost != sorted(set(lost)) or set(lost) & set(named):
            raise malformed("not sorted, or named twice", "byproducts.unresolved")
    if isinstance(said, link_form.Start) and len(said.unresolved) + len(named) != 1:
        raise malformed("an execution starts by one decision", "materials")
    if isinstance(said, (link_form.Step, link_form.End)):
        least = 1 if kind == STEP else 0
        if not least <= int(said.steps) <= MAX_STEPS:
            raise malformed(f"an execution has at most {MAX_STEPS} steps", "byproducts.steps")
    if isinstance(said, link_form.End):
        wrong = {"completed": said.reason is not None, "failed": False, "stopped": said.reason is None}
        if wrong[said.outcome]:
            raise malformed("what is stopped has a reason, and what is completed has none", "byproducts.reason")
        if said.outcome != "stopped" and "state" in names:
            raise malformed("only what was stopped names the trust state by which it was", "materials")
    if isinstance(said, link_form.Lease) and (said.reason is None) != (kind == RENEWED):
        raise malformed("a lease is withdrawn for a reason, and renewed for none", "byproducts.reason")
