"""Building a release: the bundle, and the statements about how it came to be.

`build` notes what went in; `sign` turns the notes into SLSA provenance and in-toto links. Notes are not evidence:
they become evidence when somebody signs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.core import statements, strict_json
from app.core.bundle import build_bundle, digest_of, parse_bundle, read_directory
from app.core.errors import UsageError
from app.core.opa import Opa
from app.core.verification import check_policy

_NOTES = "placet.dev/build-notes/v1"


@dataclass(frozen=True)
class Built:
    """A bundle that passed its checks, and the notes about its build."""

    bundle: bytes
    notes: bytes
    digest: str


@dataclass(frozen=True)
class ReleaseStatements:
    """The statements to sign for a bundle."""

    digest: str
    provenance: bytes
    _bundle: statements.Resource
    _build: bytes | None

    def links(self, signature: bytes) -> list[bytes]:
        """The in-toto links of the steps that are over once the provenance is signed: build and sign."""
        name = self._bundle["name"] + ".sigstore.json"
        sign = statements.link(
            "sign",
            command=["placet", "bundle", "sign"],
            materials=[self._bundle],
            products=[self._bundle, statements.resource(name, digest_of(signature))],
        )
        return [self._build, sign] if self._build else [sign]


def build(directory: Path, opa: Opa) -> Built:
    """Check and pack the policy in `directory`. Raises `Denied` where the verifier would, or `UsageError`."""
    started = _now()
    files = read_directory(directory)  # once: what is packed is what the notes name, whoever writes there meanwhile
    raw = build_bundle(files)
    bundle = parse_bundle(raw)
    check_policy(bundle, opa, strict=True)
    sources = [statements.resource(name, digest_of(files[name])) for name in sorted(files)]
    notes = {
        "type": _NOTES,
        "bundle": bundle.digest,
        "sources": sources,
        "opa": {"version": opa.version, "digest": opa.digest},
        "started": started,
        "finished": _now(),
    }
    return Built(raw, strict_json.canonical(notes), bundle.digest)


def release_statements(raw: bytes, notes: bytes | None, name: str) -> ReleaseStatements:
    """What to sign about a bundle called `name`. Without notes, the bundle was built elsewhere and we say so."""
    bundle = parse_bundle(raw)
    resource = statements.resource(name, bundle.digest)
    known = _notes_about(bundle.digest, notes)
    sources: Sequence[dict[str, Any]] = known["sources"] if known else []
    now = _now()
    provenance = statements.provenance(
        resource,
        sources=sources,
        manifest={
            "roots": list(bundle.manifest.roots),
            "entrypoint": bundle.manifest.entrypoint,
            "revision": bundle.manifest.revision,
            "built": "by placet" if known else "elsewhere",
        },
        started=known["started"] if known else now,
        finished=known["finished"] if known else now,
    )
    link = None
    if known:
        link = statements.link(
            "build",
            command=["placet", "bundle", "build"],
            materials=sources,
            products=[resource],
            byproducts={"opa-version": known["opa"]["version"], "opa-digest": known["opa"]["digest"]},
        )
    return ReleaseStatements(bundle.digest, provenance, resource, link)


def publish_link(raw: bytes, signature: bytes, name: str, system: str, channel: str) -> bytes:
    """The in-toto link of the step publish."""
    bundle = statements.resource(name, digest_of(raw))
    return statements.link(
        "publish",
        command=["placet", "bundle", "publish"],
        materials=[bundle, statements.resource(f"{name}.sigstore.json", digest_of(signature))],
        products=[bundle],
        byproducts={"system": system, "channel": channel, "at": _now()},
    )


def _notes_about(digest: str, notes: bytes | None) -> dict[str, Any] | None:
    if notes is None:
        return None
    try:
        document = strict_json.load_object(notes)
        if document["type"] != _NOTES or document["bundle"] != digest:
            raise UsageError("the .build.json beside the bundle is about another bundle; build again, or delete it")
        return {
            "sources": [
                statements.resource(str(one["name"]), str(one["digest"]["sha256"])) for one in document["sources"]
            ],
            "opa": {"version": str(document["opa"]["version"]), "digest": str(document["opa"]["digest"])},
            "started": str(document["started"]),
            "finished": str(document["finished"]),
        }
    except (strict_json.StrictJSONError, KeyError, TypeError) as error:
        raise UsageError("the .build.json beside the bundle is damaged; build again, or delete it") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
