"""Rebuild an execution's lineage from object storage, and from the log, without a control plane or its database."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core import strict_json
from app.core.errors import UsageError
from cli.progress import Shown

if TYPE_CHECKING:
    from app.control.execution_lineage import Wanted


@dataclass(frozen=True)
class Archive:
    """Where evidence lies, and who is trusted to have signed it."""

    #: The URL of the object store, or its directory.
    objects: str
    lineage_trust_config: Path
    #: Of releases and approvals; None: the same.
    trust_config: Path | None
    domain: str
    identity_issuers: list[str]
    #: The log's tiles; None: what the evidence itself proves of the log is enough.
    log: str | None


def rebuild(archive: Archive, execution: str, wanted: Wanted, depth: int) -> dict[str, Any]:
    """The document that a control plane would answer with. Raises `Denied` for evidence that does not hold."""
    from app.control import execution_lineage
    from app.control.fsck.claims import Signers
    from app.control.identity_issuer import issuer_url
    from app.control.lineage_archive import ArchiveEvidence
    from app.control.objects import Objects
    from app.core.trust_domain import trust_domain
    from cli.server_verifiers import batch_verifier

    verify = batch_verifier(archive.lineage_trust_config)
    releases = batch_verifier(archive.trust_config or archive.lineage_trust_config)
    assert verify is not None
    assert releases is not None
    issuers = tuple(map(issuer_url, archive.identity_issuers))
    signers = Signers(trust_domain(archive.domain), issuers, verify)
    with ExitStack() as stack:
        in_log = stack.enter_context(_log_check(archive)) if archive.log is not None else _believe
        shown = stack.enter_context(Shown())
        objects = Objects(_url(archive.objects))
        source = ArchiveEvidence(
            objects, releases, signers, in_log, lambda step, done: shown(f"reading {step}: {done}")
        )
        return execution_lineage.of(source, execution, wanted=wanted, depth=depth)


def _believe(_: bytes) -> None:
    """The bundle's own proof of inclusion was verified."""


def _url(place: str) -> str:
    """The URL of an object store; opening one makes what is not there, and nothing is to be made here."""
    if "://" in place and not place.startswith("file://"):
        return place
    path = Path(place.removeprefix("file://"))
    if not path.is_dir():
        raise UsageError(f"{path} is no directory; give --objects the object store's directory, or its URL")
    return f"file://{path.resolve()}"


@contextmanager
def _log_check(archive: Archive) -> Iterator[Callable[[bytes], None]]:
    """Demands that the log's own tiles hold the entry of a bundle, which is verified already."""
    from app.core.log_source import opened
    from app.core.log_tiles import LogTiles, newest
    from app.core.trust import TrustConfig

    with opened(archive.log or "") as source:
        trust = TrustConfig.from_file(archive.lineage_trust_config)
        checkpoint = newest(source, trust, at=datetime.now(UTC))
        tiles = LogTiles(source, checkpoint.size)

        def check(evidence: bytes) -> None:
            entry = strict_json.load_object(evidence)["verificationMaterial"]["tlogEntries"][0]
            body = base64.b64decode(entry["canonicalizedBody"])
            tiles.require_entry(int(entry["logIndex"]), body, checkpoint)

        yield check
