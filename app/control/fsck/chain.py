"""Whether batches follow each other: the entries of an instance, and the bytes of each of its files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from app.control.fsck.batch import CLOCKS
from app.control.fsck.finding import Finding, changed
from app.control.fsck.scratch import Scratch
from app.control.store.as_stored import INSTANT


def follow(scratch: Scratch, *, whole: bool) -> Iterator[Finding]:
    """Gaps and forks. Unless the lineage is `whole`, each may begin anywhere."""
    told: set[int | str] = set()
    for finding in _entries(scratch, whole):
        if finding.row is not None and finding.column is None:
            told.add(finding.row)
        yield finding
    for finding in _bytes(scratch, whole):
        if finding.row not in told:
            yield finding


def _entries(scratch: Scratch, whole: bool) -> Iterator[Finding]:
    last: Any = None
    for link in scratch.chain():
        if not isinstance(link["first_entry"], int) or not isinstance(link["entries"], int):
            continue  # found in the row already, of which no statement is proved
        begins = last is None or _instance(link) != _instance(last)
        due = 0 if begins else last["first_entry"] + last["entries"]
        there = link["first_entry"]
        if begins and not whole:
            pass
        elif there > due:
            yield _broken("gap", link, f"entries {due} to {there - 1} of {_name(link)} are missing", due, there)
        elif there < due and not begins and link["payload"] == last["payload"]:
            yield _broken("surplus", link, f"batch {last['id']} is of the same statement", due, there)
            continue
        elif there < due:
            detail = f"entries {there} to {due - 1} of {_name(link)} are in another batch, too"
            yield _broken("fork", link, detail, due, there)
        elif link["previous"] != (None if begins else last["payload"]):
            detail = f"the batch before it, {'none' if begins else last['id']}, is not the one that it names"
            expected = None if begins else last["payload"]
            yield Finding("fork", detail, "batch", link["id"], None, None, expected, link["previous"])
        if not begins:
            yield from _order(last, link)
        last = link


def _bytes(scratch: Scratch, whole: bool) -> Iterator[Finding]:
    last: Any = None
    for link in scratch.files():
        if not isinstance(link["first"], int) or not isinstance(link["last"], int):
            continue
        begins = last is None or (_instance(link), link["file"]) != (_instance(last), last["file"])
        # An instance may begin inside a file: what is before was shipped by an instance before it.
        anywhere = begins and (not whole or link["first_entry"] == 0)
        due = link["first"] if anywhere else 0 if begins else last["last"]
        place = f"of {link['file']} of {_name(link)}"
        if link["first"] > due:
            detail = f"bytes {due} to {link['first'] - 1} {place} are missing"
            yield _broken("gap", link, detail, due, link["first"])
        elif link["first"] < due:
            detail = f"bytes {link['first']} to {due - 1} {place} are in another batch, too"
            yield _broken("fork", link, detail, due, link["first"])
        last = link


def _order(last: Any, link: Any) -> Iterator[Finding]:
    """A batch is taken only after the one before it."""
    try:
        early, late = (datetime.strptime(one["received"], INSTANT) for one in (last, link))
    except (ValueError, TypeError):
        return  # found in the row already
    if early > late + CLOCKS:
        detail = f"the batch after it, {link['id']}, was received earlier"
        yield changed("batch", last["id"], "received_at", f"before {link['received']}", last["received"], detail)


def _broken(kind: Any, link: Any, detail: str, expected: int, found: int) -> Finding:
    return Finding(kind, detail, "batch", link["id"], expected=expected, found=found)


def _instance(link: Any) -> tuple[Any, ...]:
    return link["system"], link["sidecar"], link["instance"]


def _name(link: Any) -> str:
    return f"{link['system']}/{link['sidecar']} (instance {link['instance']})"
