"""A bundle and what lies beside it: its signature, its further attestations, the notes of its build."""

from __future__ import annotations

from pathlib import Path

from app.core.files import read_bounded


def beside(bundle: Path, suffix: str) -> Path:
    """The file beside a bundle whose name is the bundle's and `suffix`."""
    return bundle.with_name(bundle.name + suffix)


def attestations_of(bundle: Path) -> Path:
    """The file of a bundle's further attestations."""
    return beside(bundle, ".attestations.jsonl")


def release_files(bundle: Path) -> dict[str, bytes]:
    """A bundle and the evidence that lies beside it, empty where there is none: the verifier says what is missing."""
    from app.core import archive, attestation_file
    from app.core.evidence_form import MAX_EVIDENCE

    signature = beside(bundle, ".sigstore.json")
    return {
        "bundle": read_bounded(bundle, archive.MAX_COMPRESSED, "the bundle"),
        "signature": read_bounded(signature, MAX_EVIDENCE, "the signature") if signature.exists() else b"",
        "attestations": attestation_file.read(attestations_of(bundle)),
    }
