"""Bundles as OCI artifacts: an image layout in a directory, and a pull from a registry.

The form is the one in which OPA itself takes bundles from registries: an image manifest with one gzipped tar as its
layer. Sources: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and
https://github.com/opencontainers/distribution-spec/blob/main/spec.md . Every byte that is read is compared with the
digest that names it; only a tag, which moves, is taken on trust, and the digest it led to is noted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from app.core import archive, strict_json
from app.core.bundle import digest_of
from app.core.errors import PlacetError, UsageError
from app.core.files import read_bounded

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_TITLE = "org.opencontainers.image.title"
_TAG = "org.opencontainers.image.ref.name"

#: Bytes of one manifest, index or token.
_MAX_DOCUMENT = 4 * 1024 * 1024
#: Seconds for each answer of a registry.
_TIMEOUT = 60.0
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(:[0-9]+)?)/(?P<name>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def read(source: str) -> tuple[bytes, str]:
    """The bundle of `oci://HOST/NAME:TAG`, `oci://HOST/NAME@sha256:…` or `oci:DIRECTORY`, and its manifest's digest."""
    if source.startswith("oci://"):
        return _pull(source)
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


def _pull(source: str) -> tuple[bytes, str]:
    match = _REFERENCE.fullmatch(source)
    if not match or not (match["tag"] or match["digest"]):
        raise UsageError(f"{source}: write oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:DIGEST")
    local = match["host"].split(":")[0] in ("localhost", "127.0.0.1")  # only what never leaves the machine is plain
    base = f"{'http' if local else 'https'}://{match['host']}/v2/{match['name']}/"
    wanted = match["digest"] or match["tag"]
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=not local) as client:
        registry = _Registry(client, source)
        manifest = registry.get(f"{base}manifests/{wanted}", _MAX_DOCUMENT, accept=MANIFEST)
        digest = digest_of(manifest)
        if match["digest"]:
            _checked(manifest, match["digest"], source)
        layer = _layer(_document(manifest, source), source)
        return _checked(registry.get(f"{base}blobs/{layer}", archive.MAX_COMPRESSED), layer, source), digest


class _Registry:
    """Reads from one registry, as nobody, or with the token that it gives to everybody who asks."""

    def __init__(self, client: httpx.Client, source: str) -> None:
        self._client = client
        self._source = source
        self._token: str | None = None

    def get(self, url: str, limit: int, *, accept: str = "*/*") -> bytes:
        try:
            status, headers, body = self._ask(url, limit, accept)
            if status == 401 and self._token is None:
                self._token = self._asked_token(headers.get("www-authenticate", ""))
                status, headers, body = self._ask(url, limit, accept)
            for _ in range(3):  # blobs often lie in object storage, elsewhere
                if status not in (301, 302, 303, 307, 308):
                    break
                url = urljoin(url, headers.get("location", ""))
                if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in ("localhost", "127.0.0.1"):
                    raise PlacetError(f"{self._source}: the registry leads to an address without TLS")
                status, headers, body = self._ask(url, limit, accept, token=False)
        except httpx.HTTPError as error:
            raise PlacetError(
                f"{self._source}: the registry does not answer: {type(error).__name__} {error}"
            ) from error
        if status in (401, 403):
            raise PlacetError(f"{self._source}: the registry wants a login; pull it with `oras copy --to-oci-layout`")
        if status == 404:
            raise UsageError(f"{self._source}: the registry has no such artifact")
        if status != 200:
            raise PlacetError(f"{self._source}: the registry answered {status}")
        return body

    def _ask(self, url: str, limit: int, accept: str, *, token: bool = True) -> tuple[int, httpx.Headers, bytes]:
        headers = {"Accept": accept}
        if token and self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        body = bytearray()
        with self._client.stream("GET", url, headers=headers) as answer:
            for chunk in answer.iter_raw():
                body += chunk
                if len(body) > limit:
                    raise PlacetError(f"{self._source}: the registry sent more than {limit} bytes")
        return answer.status_code, answer.headers, bytes(body)

    def _asked_token(self, challenge: str) -> str | None:
        """The token that the challenge leads to: https://distribution.github.io/distribution/spec/auth/token/."""
        if not challenge.lower().startswith("bearer "):
            return None
        told = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = urlsplit(told.get("realm", ""))
        if realm.scheme != "https" and realm.hostname not in ("localhost", "127.0.0.1"):
            return None
        query = {name: told[name] for name in ("service", "scope") if name in told}
        status, _, body = self._ask(str(httpx.URL(told["realm"], params=query)), _MAX_DOCUMENT, "application/json")
        if status != 200:
            return None
        document = _document(body, self._source)
        token = document.get("token") or document.get("access_token")
        return token if isinstance(token, str) and token.isascii() and token.isprintable() else None


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
