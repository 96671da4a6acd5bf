"""A control plane that lies with its own good keys: it hands out a release that it never took."""

from datetime import UTC, datetime, timedelta

import httpx
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from app.control.signing_keys import OnlineKeys
from app.core.bundle import digest_of
from app.core.targets import BUNDLE_FILE, ISSUED_AT, ChannelPointer, channel_target, release_target
from app.local.demo.stack import CHANNEL, SYSTEM


def lie(liar, stack, files, without=None):
    """Sign metadata whose channel points at a release made of `files`, with the control plane's own keys."""
    keys = OnlineKeys.load(stack.directory / "server" / "keys")
    fetch = httpx.Client(base_url=f"{stack.server}/tuf/metadata/", trust_env=False)
    timestamp = Metadata[Timestamp].from_bytes(fetch.get("timestamp.json").content)
    snapshot_version = timestamp.signed.snapshot_meta.version
    snapshot = Metadata[Snapshot].from_bytes(fetch.get(f"{snapshot_version}.snapshot.json").content)
    targets_version = snapshot.signed.meta["targets.json"].version
    targets = Metadata[Targets].from_bytes(fetch.get(f"{targets_version}.targets.json").content)
    turn = 1000 + len(liar.forged)
    digest = digest_of(files[BUNDLE_FILE])
    pointer = ChannelPointer(system=SYSTEM, channel=CHANNEL, sequence=turn, release=digest, horizon_seconds=600)
    documents = {channel_target(SYSTEM, CHANNEL): pointer.encode()}
    documents |= {release_target(digest, name): raw for name, raw in files.items()}
    for path, raw in documents.items():
        target = TargetFile.from_data(path, raw, ["sha256"])
        targets.signed.targets[path] = target
        liar.forged[f"/tuf/targets/{target.get_prefixed_paths()[0]}"] = raw
    targets.signed.targets.pop(without, None)
    for metadata, key in ((targets, keys.targets), (snapshot, keys.snapshot), (timestamp, keys.timestamp)):
        metadata.signed.version += turn
        name = f"{metadata.signed.version}.{metadata.signed.type}.json"
        if metadata is snapshot:
            metadata.signed.meta["targets.json"] = MetaFile(version=targets.signed.version)
        if metadata is timestamp:
            name = "timestamp.json"
            metadata.signed.snapshot_meta = MetaFile(version=snapshot.signed.version)
            now = datetime.now(UTC)
            metadata.signed.expires = (now + timedelta(days=1)).replace(microsecond=0)
            metadata.signed.unrecognized_fields[ISSUED_AT] = now.isoformat(timespec="milliseconds")
        metadata.sign(key)
        liar.forged[f"/tuf/metadata/{name}"] = metadata.to_bytes()
