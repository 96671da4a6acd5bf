"""The form of an execution's proof: its links, and proofs of the decisions that they name, each release but once.

RFC 8785 bytes of exactly the known members. docs/proof.md says what they mean; `app.core.execution_proof` verifies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.core import proof_form, statements, strict_json
from app.core.errors import Denied
from app.core.link_form import MAX_STEPS
from app.core.proof_form import MAX_PIECES, Proof, malformed, read_canonical
from app.core.targets import Digest

FORMAT = f"{statements.PLACET}/execution-proof/v1"

#: Bytes of a file; links of an execution, which has a start, steps and an end; decisions that they name.
MAX_PROOF = 64 * 1024 * 1024
MAX_LINKS = MAX_STEPS + 2
MAX_DECISIONS = 2000
_MAX_RELEASES = 64

_Evidence = Annotated[list[dict[str, Any]], Field(max_length=MAX_PIECES)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal["https://placet.dev/execution-proof/v1"]
    links: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_LINKS)]
    decisions: Annotated[list[dict[str, Any]], Field(max_length=MAX_DECISIONS)]
    releases: Annotated[dict[Digest, _Evidence], Field(max_length=_MAX_RELEASES)]


@dataclass(frozen=True)
class ExecutionProof:
    """One proof file of an execution."""

    #: Sigstore bundles, in the order of the links.
    links: tuple[bytes, ...]
    #: In the order of their leaf hashes.
    decisions: tuple[Proof, ...]

    @classmethod
    def read(cls, raw: bytes) -> ExecutionProof:
        """Read a proof file. Raises `Denied` with `proof.malformed`."""
        file = read_canonical(raw, _File, MAX_PROOF)
        decisions = tuple(_decision(one, file.releases, f"decisions.{at}") for at, one in enumerate(file.decisions))
        leaves = [one.leaf for one in decisions]
        if leaves != sorted(set(leaves)):
            raise malformed("not by leaf hash, or one stands twice", "decisions")
        if set(file.releases) != {one.release.digest for one in decisions if one.release}:
            raise malformed("not those of the decisions", "releases")
        return cls(tuple(strict_json.canonical(one) for one in file.links), decisions)

    def write(self) -> bytes:
        """The proof file. Sigstore bundles in it are written anew, which leaves what they say as it is."""
        releases: dict[str, list[dict[str, Any]]] = {}
        decisions = []
        for one in sorted(self.decisions, key=lambda one: one.leaf):
            document = strict_json.load_object(one.write())
            del document["format"]
            if (release := document["release"]) is not None:
                releases[release["digest"]] = release["evidence"]
                document["release"] = release["digest"]
            decisions.append(document)
        return strict_json.canonical(
            {
                "format": FORMAT,
                "links": [strict_json.load_object(one) for one in self.links],
                "decisions": decisions,
                "releases": releases,
            }
        )


def _decision(given: dict[str, Any], releases: dict[str, list[dict[str, Any]]], field: str) -> Proof:
    """A decision's proof, as a file of its own would hold it."""
    digest = given.get("release")
    if "format" in given:
        raise malformed("there is no such member", f"{field}.format")
    if digest is not None and (not isinstance(digest, str) or digest not in releases):
        raise malformed("not one of the releases", f"{field}.release")
    release = None if digest is None else {"digest": digest, "evidence": releases[digest]}
    whole = {**given, "format": proof_form.FORMAT, **({"release": release} if "release" in given else {})}
    try:
        return Proof.read(strict_json.canonical(whole))
    except Denied as denied:
        raise malformed(f"{field}: {denied.detail}", denied.field) from denied
