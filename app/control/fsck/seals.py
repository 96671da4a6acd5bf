"""Rows that nobody signs: as the control plane wrote them, none missing and none too many."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from app.control.fsck.finding import WRITTEN, Finding
from app.control.fsck.scratch import Scratch
from app.control.fsck.tables import Tables
from app.control.store import Seals, as_stored
from app.control.store.sealing import KEY_ROW, sealed
from app.control.store.seals import same

_ADDED = "the control plane did not write it: it has no seal"
_OTHER_KEY = "the seals are of another key than this control plane's"
_GONE = "the control plane wrote it, and did not remove it: its seal is there"


def check(
    tables: Tables, seals: Seals, scratch: Scratch, told: Collection[tuple[str, str]]
) -> Iterator[Finding | None]:
    """A finding, or None, for each row. `told` are rows of which a finding says more already."""
    scratch.add_seals(tables.seals())
    key = scratch.taken_seal(*KEY_ROW)
    if key is None or not same(key, seals.own_name()):
        yield Finding("changed", _OTHER_KEY, KEY_ROW[0], as_stored.named(KEY_ROW[1]))
    for table in sealed():
        for row in tables.sealed(table):
            name = as_stored.named(as_stored.key(table, row))
            mac = scratch.taken_seal(table.name, as_stored.key(table, row))
            if mac is None:
                yield Finding("surplus", _ADDED, table.name, name)
            elif same(mac, seals.row(table.name, row)) or (table.name, name) in told:
                yield None
            else:
                yield Finding("changed", WRITTEN, table.name, name)
    for about, key in scratch.seals_left():
        yield Finding("missing", _GONE, about, as_stored.named(key))
