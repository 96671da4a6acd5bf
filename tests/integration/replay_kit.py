"""Records that a real OPA made of generated decisions, with the bundle and the trust states that they name."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from app.core.archive import read_archive
from app.core.bundle import build_bundle, parse_bundle
from app.core.compose import Library, compose
from app.core.opa import Opa
from app.core.replay import Replay
from app.core.replayed import Replayed
from app.local.replay_opa import Opas
from app.local.tools import installed
from bench import stand

SEED = 20270116


def generated_now() -> ModuleType:
    """`generated.py` at the time of the test: a real OPA reads the real clock."""
    spec = importlib.util.find_spec("tests.integration.generated")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text()
    assert "NOW = 1_800_000_000" in source
    module = ModuleType("tests.integration.generated_now")
    sys.modules[module.__name__] = module
    exec(source.replace("NOW = 1_800_000_000", f"NOW = {int(time.time())}"), module.__dict__)
    return module


def bundle(source: str, entrypoint: str = "app/authz/decision") -> bytes:
    """A policy bundle of one module."""
    manifest = {"roots": ["app"], "metadata": {"placet": {"entrypoint": entrypoint}}}
    return build_bundle({".manifest": json.dumps(manifest).encode(), "app/authz.rego": source.encode()})


def composed(raw: bytes, library: Library | None = None) -> dict[str, str]:
    """The files of the bundle that a sidecar composes of a policy."""
    files = read_archive(compose(parse_bundle(raw), library or Library.shipped()).raw)
    return {name: content.decode() for name, content in files.items()}


def archived(trust: Any) -> tuple[str, bytes]:
    """A trust state as it is archived, and its digest before that."""
    raw = json.dumps(trust, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    return "sha256:" + hashlib.sha256(raw).hexdigest(), raw


@dataclass(frozen=True)
class Kept:
    """Bundles and trust states by digest."""

    bundles: dict[str, bytes]
    states: dict[str, bytes]
    libraries: dict[str, bytes] = field(default_factory=dict)

    def library(self, digest: str) -> bytes | None:
        return self.libraries.get(digest)

    def bundle(self, digest: str) -> bytes | None:
        return self.bundles.get(digest)

    def state(self, digest: str) -> bytes | None:
        return self.states.get(digest)


class Recorder:
    """An OPA as a sidecar runs it, on one policy."""

    def __init__(self, opa: stand.Server, policy: bytes) -> None:
        self.opa = opa
        self.kept = Kept({parse_bundle(policy).digest: policy}, {})

    def write(self, state: Any) -> None:
        """Write a trust state under its digest, unless it has an odd one; None takes it away."""
        if state is None:
            self.opa.client.delete("/v1/data/placet_state", headers=self.opa.agent)
            return
        digest, raw = archived(state["trust"])
        self.kept.states[digest] = raw
        self.opa.write(state | {"digest": digest} if isinstance(state["digest"], str) else state)

    def ask(self, asked: str, *, start: bool = False) -> None:
        """Ask about a request, given as JSON."""
        path = "/v1/data/placet/start" if start else stand.DECISION
        headers = self.opa.agent if start else {}
        self.opa.client.post(path, content=f'{{"input":{asked}}}'.encode(), headers=headers)

    def records(self) -> list[bytes]:
        """Every record so far, as OPA wrote it."""
        return [line for line in self.opa.stderr.read_bytes().split(b"\n") if b'"msg":"Decision Log"' in line]


@functools.cache
def opa() -> Opa:
    """The pinned OPA."""
    return Opa(installed("opa"))


@functools.cache
def opas() -> Opas:
    """What runs OPA for replays; whoever asks closes it in the end."""
    return Opas(opa())


def replayed(records: list[bytes], kept: Any) -> list[Replayed]:
    """What comes of the records."""
    return list(Replay(kept, opas().engine).replay(records))
