"""Bundles as OCI artifacts: an image layout in a directory, and what a registry holds.

The form is the one in which OPA itself takes bundles from registries: an image manifest with one gzipped tar as its
layer. Sources: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and
https://github.com/opencontainers/distribution-spec/blob/main/spec.md . Every byte that is read is compared with the
digest that names it; only a tag, which moves, is taken on trust, and the digest it led to is noted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from app.core import archive, oci_registry, strict_json
from app.core.bundle import digest_of
from app.core.errors import PlacetError, UsageError
from app.core.files import read_bounded

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_TITLE = "org.opencontainers.image.title"
_TAG = "org.opencontainers.image.ref.name"

#: Bytes of one manifest or index.
_MAX_DOCUMENT = 4 * 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def read(source: str) -> tuple[bytes, str]:
    """The bundle of `oci://HOST/NAME:TAG`, `oci://HOST/NAME@sha256:…` or `oci:DIRECTORY`, and its manifest's digest."""
    if source.startswith("oci://"):
        return _pulled(source)
    where, _, wanted = source.removeprefix("oci:").partition("@")
    directory, tag = Path(where), None
    if not directory.is_dir() and ":" in where:
        where, _, tag = where.rpartition(":")
        directory = Path(where)
    if not (directory / "index.json").is_file():
        raise UsageError(f"{directory} is no OCI layout: it has no index.json; a registry's is oci://HOST/NAME:TAG")
    index = _document(read_bounded(directory / "index.json", _MAX_DOCUMENT, "the OCI index"), source)
    listed = _entries(index, "manifests", source)
    chosen = [
        one
        for one in listed
        if (not wanted or one["digest"] == wanted) and (not tag or (one.get("annotations") or {}).get(_TAG) == tag)
    ]
    if len(chosen) != 1:
        found = ", ".join(str(one["digest"]) for one in listed[:5])
        raise UsageError(
            f"{source} names {len(chosen)} manifests of this layout; choose one by @ and its digest: {found}"
        )

    def blob(digest: str, limit: int) -> bytes:
        return read_bounded(directory / "blobs" / "sha256" / digest.removeprefix("sha256:"), limit, "the OCI blob")

    digest = chosen[0]["digest"]
    manifest = _checked(blob(digest, _MAX_DOCUMENT), digest, source)
    layer = _layer(_document(manifest, source), source)
    return _checked(blob(layer, archive.MAX_COMPRESSED), layer, source), digest


def layout(bundle: bytes, title: str) -> dict[str, bytes]:
    """The files of an OCI layout that holds one bundle under the tag `latest`. The same bundle gives the same files."""
    layer = {
        "mediaType": LAYER,
        "digest": digest_of(bundle),
        "size": len(bundle),
        "annotations": {_TITLE: title},
    }
    config = strict_json.canonical(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(archive.decompressed(bundle))]},
        }
    )
    manifest = strict_json.canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [layer],
        }
    )
    listed = {
        "mediaType": MANIFEST,
        "digest": digest_of(manifest),
        "size": len(manifest),
        "annotations": {_TAG: "latest"},
    }
    index = strict_json.canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]})
    blobs = {f"blobs/sha256/{digest_of(one).removeprefix('sha256:')}": one for one in (bundle, config, manifest)}
    return {"oci-layout": strict_json.canonical({"imageLayoutVersion": "1.0.0"}), "index.json": index, **blobs}


def _pulled(source: str) -> tuple[bytes, str]:
    reference = oci_registry.Reference.parse(source)
    with oci_registry.opened(reference) as registry:
        manifest = registry.get(f"manifests/{reference.digest or reference.tag}", _MAX_DOCUMENT, accept=MANIFEST)
        digest = digest_of(manifest)
        if reference.digest:
            _checked(manifest, reference.digest, source)
        layer = _layer(_document(manifest, source), source)
        return _checked(registry.get(f"blobs/{layer}", archive.MAX_COMPRESSED), layer, source), digest


def _document(raw: bytes, source: str) -> dict[str, Any]:
    try:
        return strict_json.load_object(raw)
    except strict_json.StrictJSONError as error:
        raise PlacetError(f"{source} is no OCI artifact: {error}") from error


def _entries(document: dict[str, Any], member: str, source: str) -> list[dict[str, Any]]:
    entries = document.get(member)
    if not isinstance(entries, list) or not all(
        isinstance(one, dict) and isinstance(one.get("digest"), str) and _DIGEST.fullmatch(one["digest"])
        for one in entries
    ):
        raise PlacetError(f"{source} is no OCI artifact with a bundle: {member} is not a list with SHA-256 digests")
    return entries


def _layer(manifest: dict[str, Any], source: str) -> str:
    layers = _entries(manifest, "layers", source)
    fitting = [one["digest"] for one in layers if "tar" in str(one.get("mediaType"))]
    if len(fitting) != 1:
        kinds = ", ".join(str(one.get("mediaType"))[:100] for one in layers[:5]) or "none"
        raise PlacetError(f"{source} has {len(fitting)} layers that are tars, not one; its layers are: {kinds}")
    return str(fitting[0])


def _checked(content: bytes, digest: str, source: str) -> bytes:
    if digest_of(content) != digest:
        raise PlacetError(f"{source}: what is stored as {digest} has another digest: damaged, or not what it says")
    return content
