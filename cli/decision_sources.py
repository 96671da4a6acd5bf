"""Where `placet decision` finds records, bundles and trust states: at the control plane, or in files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from app.core.bundle import digest_of
from app.core.errors import PlacetError, UsageError
from app.core.files import read_bounded
from cli.api_path import api, system_path
from cli.client import ControlPlane
from cli.output import say

if TYPE_CHECKING:
    from app.core.opa import Opa
    from app.core.replay import Replay

#: Decisions of one page of the API, and records that are fetched at a time.
_PAGE, _TOGETHER = 200, 8
#: Records of one page of the feed.
_FED = 1000
#: Bytes of an archived trust state: OPA takes no larger one.
_MAX_STATE = 1024 * 1024


class FromFiles:
    """Records, bundles and trust states that somebody was given, for a replay without a server."""

    def __init__(self, bundles: list[Path], states: Path | None, libraries: list[Path]) -> None:
        """`bundles`: policy bundles. `states`: a directory with `HEX.json` for each state, as sidecars archive them.

        `libraries`: files of governance libraries, or directories with their modules.
        """
        from app.core.archive import MAX_COMPRESSED

        raws = (read_bounded(bundle, MAX_COMPRESSED, "the bundle") for bundle in bundles)
        self._bundles = {digest_of(raw): raw for raw in raws}
        if states is not None and not states.is_dir():
            raise UsageError(f"{states} is not a directory")
        self._states = states
        self._libraries = given_libraries(libraries)
        #: No batch says which OPA wrote them.
        self.opas: Counter[str] = Counter()
        #: Lines that were no decision records: OPA writes messages to the same file.
        self.others = 0

    def bundle(self, digest: str) -> bytes | None:
        """The policy of that digest, if it was given."""
        return self._bundles.get(digest)

    def state(self, digest: str) -> bytes | None:
        """The trust state of that digest, if the directory has it."""
        path = (self._states or Path()) / f"{digest.removeprefix('sha256:')}.json"
        return read_bounded(path, _MAX_STATE, "the trust state") if self._states and path.exists() else None

    def library(self, digest: str) -> bytes | None:
        """The governance library of that digest, if it was given."""
        return self._libraries.get(digest)

    def records(self, file: Path, wanted: set[str]) -> Iterator[bytes]:
        """The decision records in a file of OPA's, or those whose ids are `wanted`: then each of them."""
        from app.core.record_entry import read_entry

        missing = set(wanted)
        try:
            with file.open("rb") as lines:
                for line in lines:
                    raw = line.rstrip(b"\n")
                    entry = read_entry(raw)
                    if entry is None:
                        self.others += bool(raw)
                    elif not wanted or entry.decision_id in wanted:
                        missing.discard(entry.decision_id or "")
                        yield raw
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror}") from error
        if missing:
            raise PlacetError(f"{file} has no record of {min(missing)}")


class FromControlPlane:
    """The same, as a control plane stores them."""

    def __init__(self, plane: ControlPlane, libraries: list[Path] | None = None) -> None:
        """`libraries`: those that the control plane need not have."""
        self._plane = plane
        self._libraries = given_libraries(libraries or [])
        #: Records by the OPA that their signed batches name. Several threads count.
        self.opas: Counter[str] = Counter()
        self._counting = Lock()
        self._systems: set[str] = set()

    def pages(self, filters: Mapping[str, Any], limit: int | None) -> Iterator[dict[str, Any]]:
        """Decisions as the API lists them, newest first: at most `limit`."""
        cursor = None
        left = limit
        while left is None or left > 0:
            size = min(_PAGE, left or _PAGE)
            page = self._plane.get("/api/v1/decisions", limit=size, cursor=cursor, **filters)
            yield from page["items"]
            cursor = page["next"]
            left = None if left is None else left - len(page["items"])
            if cursor is None:
                return

    def record(self, decision: str) -> bytes:
        """The record of a decision, byte for byte."""
        found = self._plane.get(_path(decision))
        self._systems.add(found["system"])
        self._count(found["signed"] and found["signed"]["opa"])
        if found["copies"] > 1:
            say(f"{found['copies']} records have the id {decision}; the one that came first is taken")
        return str(found["raw"]).encode("utf-8", "surrogatepass")

    def _count(self, opa: str | None) -> None:
        if opa is not None:
            with self._counting:
                self.opas[opa] += 1

    def records(self, decisions: Iterator[str]) -> Iterator[bytes]:
        """The records of many decisions, in their order."""
        with ThreadPoolExecutor(_TOGETHER) as threads:
            while some := list(islice(decisions, _PAGE)):
                yield from threads.map(self.record, some)

    def feed(self, filters: Mapping[str, Any], limit: int | None = None) -> Iterator[bytes]:
        """The records of a filter's decisions, newest first, at most `limit`; `Absent` where one is not there.

        The next page is fetched while the last one is used.
        """
        with ThreadPoolExecutor(1) as thread:
            left, cursor = limit, None
            coming = thread.submit(self._fed, filters, left, cursor)
            while True:
                records, cursor = coming.result()
                left = None if left is None else left - len(records)
                more = cursor is not None and left != 0
                if more:
                    coming = thread.submit(self._fed, filters, left, cursor)
                yield from records
                if not more:
                    return

    def _fed(self, filters: Mapping[str, Any], left: int | None, cursor: str | None) -> tuple[list[bytes], str | None]:
        """One page of the feed, at most `left` records, and the cursor of the next one."""
        from app.core.replay_record import Absent

        size = None if left is None else min(left, _FED)
        body = self._plane.get_page("/api/v1/decisions/records", limit=size, cursor=cursor, **filters)
        head, *lines = body.split(b"\n")
        try:
            page = json.loads(head)
            items, following = page["items"], page["next"]
            if len(lines) != len(items) + 1:
                raise ValueError("cut short")
            records = []
            for item, line in zip(items, lines, strict=False):
                self._systems.add(item["system"])
                self._count(item.get("opa"))
                records.append(Absent.of(item["decision_id"], item["missing"]) if "missing" in item else line)
        except (ValueError, LookupError, TypeError) as error:
            raise PlacetError("the control plane did not answer with records; is it of this version?") from error
        return records, following

    def whole(self, decision: str) -> bytes:
        """A decision with its record, as the API gives it: numbers keep their text."""
        answer = self._plane.get_bytes(_path(decision))
        if answer is None:
            raise PlacetError(f"there is no decision {decision}")
        return answer

    def bundle(self, digest: str) -> bytes | None:
        """A release's bundle, where TUF clients find it."""
        from app.core.targets import BUNDLE_FILE, release_target

        sha = digest.removeprefix("sha256:")
        directory, _, name = release_target(digest, BUNDLE_FILE).rpartition("/")
        return self._plane.get_bytes(f"/tuf/targets/{directory}/{sha}.{name}")

    def library(self, digest: str) -> bytes | None:
        """A governance library that was given, or that the control plane has run with."""
        return self._libraries.get(digest) or self._plane.get_bytes(api("libraries", digest))

    def state(self, digest: str) -> bytes | None:
        """An archived trust state, of any of the systems whose records were read."""
        for system in sorted(self._systems):
            found = self._plane.get_bytes(system_path(system, "states", digest))
            if found is not None:
                return found
        return None


def say_what_decided(replay: Replay, parts: FromFiles | FromControlPlane, opa: Opa) -> None:
    """Say of how many records library or OPA were others than those by which they were decided again."""
    for digest, count in replay.others.items():
        say(f"{count} records by the library {digest}, which is not this version's")
    for digest, count in parts.opas.items():
        if digest != opa.digest:
            say(f"{count} records by the OPA {digest}, and this is {opa.digest}; --opa names another")


def given_libraries(places: list[Path]) -> dict[str, bytes]:
    """The files of the libraries that options name, by digest: files, or directories with their modules."""
    from app.core.compose import MAX_LIBRARY, Library

    found = {}
    for place in places:
        try:
            if place.is_dir():
                library = Library.of_directory(place)
            else:
                library = Library.read(read_bounded(place, MAX_LIBRARY, "the library"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{place} is no library: {error}") from error
        if not library.modules:
            raise UsageError(f"{place} is no library: it holds no .rego files")
        found[library.digest] = library.written()
    return found


def _path(decision: str) -> str:
    return api("decisions", decision)
