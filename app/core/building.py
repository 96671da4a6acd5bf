"""Building a release: the bundle, and the statements about how it came to be.

`build` notes what went in; `sign` turns the notes into SLSA provenance and in-toto links. Notes are not evidence:
they become evidence when somebody signs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.core import (
    allowed_builtins,
    bundle_manifest,
    bundle_source,
    git_facts,
    older_rego,
    policy_remedy,
    preflight,
    statements,
    strict_json,
)
from app.core.bundle import build_bundle, digest_of, modules_of, parse_bundle
from app.core.bundle_manifest import Choices, completed
from app.core.bundle_source import Source
from app.core.ci_run import Run
from app.core.errors import Denied, UsageError
from app.core.fault import Fault
from app.core.git_facts import GitFacts
from app.core.opa import Module, Opa
from app.core.reason_codes import Reason
from app.core.rego_check import check_policy

_NOTES = "placet.dev/build-notes/v1"


@dataclass(frozen=True)
class Built:
    """A bundle that passed its checks, and the notes about its build."""

    bundle: bytes
    notes: bytes
    digest: str
    #: What the build inferred since nobody gave it: `roots`, `entrypoint`.
    inferred: Mapping[str, Any]
    #: Files of the input that are not in the bundle.
    left_out: tuple[str, ...]
    #: Modules that came as older Rego (v0).
    converted: tuple[str, ...] = ()
    #: Builtins that placet.yaml says the system allows.
    allowed: tuple[str, ...] = ()


class Refused(Denied):
    """A build that the verifier would refuse: the first fault as the denial, and every other one beside it."""

    def __init__(self, first: Denied, faults: Sequence[Fault]) -> None:
        detail = policy_remedy.helped(first)
        super().__init__(first.reason, detail, step=first.step, field=first.field)
        said = Reason.MANIFEST_MISSING  # a build can do without one
        self.others = tuple(one for one in faults if one.reason != said and not detail.startswith(one.message))


@dataclass(frozen=True)
class ReleaseStatements:
    """The statements to sign for a bundle."""

    digest: str
    provenance: bytes
    _bundle: statements.Resource
    _build: bytes | None

    @property
    def steps(self) -> frozenset[str]:
        """The names of the steps of which there are links."""
        return frozenset({"build", "sign"}) if self._build else frozenset({"sign"})

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


def build(
    source: Path | Sequence[Source],
    opa: Opa,
    *,
    choices: Choices | None = None,
) -> Built:
    """Check and pack a policy: a directory, or what `bundle_source.read` gave. The same input gives the same bytes.

    Raises `Denied` where the verifier would, or `UsageError`.
    """
    started = _now()
    choices = choices or Choices()
    # Read once: what is packed is what the notes name, whoever writes there meanwhile.
    sources = [bundle_source.read(str(source))] if isinstance(source, Path) else list(source)
    sources = [older_rego.converted(one, opa, every=choices.older) for one in sources]
    converted = tuple(sorted({path for one in sources for path in one.originals}))
    allowed_there = allowed_builtins.known(opa, bundle_manifest.settings(sources))
    allowed = choices.allowed_builtins | allowed_there
    files = bundle_source.merged(sources, entrypoint=choices.entrypoint)
    git = git_facts.shared([one.git for one in sources])
    facts = {
        "tool": f"placet {version('placet')}",
        "opa": opa.version,
        **({"git": git.as_dict()} if git else {}),
        **({"converted": "from Rego v0"} if converted else {}),
    }
    strict = choices.strict and not any(one.wrapped for one in sources)  # of a bundle, its author is not here
    packed = files
    policy = modules_of(files)
    syntax: Sequence[Module] | None = opa.accepted(policy, strict=strict, allowed=allowed)
    with ThreadPoolExecutor(1) as pool:
        # It takes as long as all the rest, and depends on nothing of it.
        compiling = pool.submit(opa.check, policy, strict=strict, allowed=allowed) if syntax is None else None
        try:
            whole = completed(files, sources, opa, choices, facts, syntax)
            packed, syntax = dict(whole.files), whole.modules
            if choices.oldest_opa is not None:
                for fault in preflight.capabilities(whole.modules, modules_of(packed), opa, choices.oldest_opa):
                    raise fault.denied("rego")
            raw = build_bundle(packed)
            bundle = parse_bundle(raw)
            check_policy(bundle, opa, strict=strict, allowed=allowed, modules=whole.modules, compiling=compiling)
        except Denied as denied:
            # The first fault is known; whoever builds wants to hear of all of them.
            faults = preflight.check(
                packed, opa, oldest=choices.oldest_opa, allowed=allowed, strict=strict, syntax=syntax
            )
            raise Refused(denied, faults) from denied
    came = files
    if converted:
        originals = [replace(one, files={**one.files, **one.originals}) for one in sources]
        came = bundle_source.merged(originals, entrypoint=choices.entrypoint)
    notes = {
        "type": _NOTES,
        "bundle": bundle.digest,
        "sources": [statements.resource(name, digest_of(came[name])) for name in sorted(came)],
        "opa": {"version": opa.version, "digest": opa.digest},
        "started": started,
        "finished": _now(),
        "inputs": _named(sources, git),
        **({"git": git.as_dict()} if git else {}),
    }
    left_out = tuple(sorted({path for one in sources for path in one.left_out}))
    said = tuple(sorted(allowed_there))
    return Built(raw, strict_json.canonical(notes), bundle.digest, whole.inferred, left_out, converted, said)


def release_statements(raw: bytes, notes: bytes | None, name: str, *, run: Run | None = None) -> ReleaseStatements:
    """What to sign about a bundle called `name`, in the run of a CI system.

    Without notes, the bundle was built elsewhere and we say so.
    """
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
        inputs=_inputs(known or {}),
        tools=[_opa(known["opa"])] if known else [],
        builder=(run or Run()).builder,
        invocation=(run or Run()).invocation,
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


def _named(sources: Sequence[Source], git: GitFacts | None) -> list[statements.Resource]:
    """The inputs that have a digest of their own, for the notes.

    Where other files went in as well, the files that were built are not those of a commit, and it says so.
    """
    named = [dict(one) for source in sources for one in (source.resource, *source.submodules) if one]
    if (git and not git.dirty) or all("gitCommit" in (one.resource or {}).get("digest", {}) for one in sources):
        return named
    return [{**one, "annotations": {"dirty": True}} if "gitCommit" in one["digest"] else one for one in named]


def _inputs(known: Mapping[str, Any]) -> list[statements.Resource]:
    """What was named to the build: a commit by its id; and, of a working tree, whether it was that commit."""
    inputs = list(known.get("inputs") or [])
    git = known.get("git")
    if git and not any(one["digest"].get("gitCommit") == git.commit for one in inputs):
        inputs.append({**git.resource, "annotations": {"dirty": git.dirty}})
    return inputs


def _opa(known: Mapping[str, str]) -> statements.Resource:
    return {**statements.resource("opa", known["digest"]), "annotations": {"version": known["version"]}}


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
            "inputs": [_input(one) for one in document.get("inputs", [])],
            "git": _git(document.get("git")),
        }
    except (strict_json.StrictJSONError, KeyError, TypeError, ValueError) as error:
        raise UsageError("the .build.json beside the bundle is damaged; build again, or delete it") from error


def _input(document: Any) -> dict[str, Any]:
    """An input's ResourceDescriptor: a name or an address, and its digests."""
    named = {member: str(document[member]) for member in ("name", "uri") if member in document}
    digests = {str(kind): str(value) for kind, value in dict(document["digest"]).items()}
    if not named or not digests:
        raise KeyError("digest")
    noted = {"annotations": {"dirty": True}} if "annotations" in document else {}
    return {**named, "digest": digests, **noted}


def _git(document: Any) -> GitFacts | None:
    """Commit, remote and dirty flag of the directory that was built."""
    if document is None:
        return None
    return GitFacts(str(document["commit"]), str(document["remote"]), document["dirty"] is not False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
