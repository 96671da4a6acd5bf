"""Fuzz: every reader of outside bytes without a fuzz test of its own refuses in its own words, at once, or reads.

Archives, OCI, records, proofs, batches, links, warrants and Sigstore bundles have theirs beside their other tests.
"""

import base64
import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core import building, layout_form, modes, strict_yaml
from app.core.archive import write_archive
from app.core.bundle import digest_of, parse_bundle
from app.core.checkpoint import Checkpoint
from app.core.errors import PlacetError
from app.core.execution_proof_form import ExecutionProof
from app.core.governance import SystemGovernance
from app.core.holder_keys import load_private, load_public
from app.core.log_expected import checked_page
from app.core.proof_policy import ProofPolicy
from app.core.replay_record import Unavailable
from app.core.replay_record import read as read_record
from app.core.targets import ChannelPointer, PublishedState
from app.core.trust import TrustConfig
from app.core.verification import split_attestations
from app.core.verification_policy import VerificationPolicy
from app.core.warrant_trust import WarrantTrust
from app.core.x509_roots import RootRefused, vet
from tests.soon import soon


class _Trust:
    """Of no log: what is read of a checkpoint is read before."""

    logs = ()


@dataclass(frozen=True)
class InAFile:
    """What reads a path."""

    read: Callable[[Path], object]


@pytest.fixture
def reads(tmp_path):
    """A reader of bytes, whatever the reader takes."""

    def of(reader):
        if not isinstance(reader, InAFile):
            return reader

        def read(raw):
            (tmp_path / "outside.yaml").write_bytes(raw)
            reader.read(tmp_path / "outside.yaml")

        return read

    return of


def bundle_of(manifest):
    return gzip.decompress(write_archive({".manifest": manifest, "app.rego": b"package app\n", "data.json": manifest}))


MANIFEST = b'{"roots": ["app"], "revision": "r", "metadata": {"placet": {"entrypoint": "app/allow"}}}'
POLICY = b'identities:\n- {identity: "a", issuer: "b"}\n- {pattern: "^[a-z]+@b$", issuer: c}\nminimum_signers: 1\n'
SHADOW = {"_type": "x", "predicateType": modes.SHADOW, "subject": [], "predicate": {"system": "pay", "until": "2026"}}
DECLARED = {"dsseEnvelope": {"payload": base64.b64encode(json.dumps(SHADOW).encode()).decode()}}
CHECKPOINT = f"log.example.org\n1\n{base64.b64encode(bytes(32)).decode()}\n\n\u2014 log.example.org AAAAAAAA\n".encode()
KEY = b"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
PEM = b"-----BEGIN PUBLIC KEY-----\n" + KEY + b"\n-----END PUBLIC KEY-----\n"

LAYOUT = b"""layout: pay
expires: "2099-01-01T00:00:00Z"
steps:
- name: build
  functionaries: [{identity: a, issuer: "https://i"}]
  threshold: 1
  expected_command: [make]
  expected_materials: [[ALLOW, "*.rego"], [DISALLOW, "*"]]
  expected_products: [[CREATE, x.tar.gz], [DISALLOW, "*"]]
"""
BUNDLE = write_archive({".manifest": MANIFEST, "app.rego": b"package app\n"})
NOTES = {
    "type": "placet.dev/build-notes/v1",
    "bundle": digest_of(BUNDLE),
    "sources": [{"name": "app.rego", "digest": {"sha256": "ab" * 32}}],
    "opa": {"version": "1.22.2", "digest": digest_of(b"")},
    "started": "2026-01-31T12:00:00Z",
    "finished": "2026-01-31T12:00:01Z",
    "inputs": [{"uri": "git+https://h/p@c", "digest": {"gitCommit": "ab" * 20}}],
    "git": {"commit": "ab" * 20, "remote": "https://h/p", "dirty": False},
}
POINTER = {"system": "pay", "channel": "prod", "sequence": 1, "release": digest_of(b""), "horizon_seconds": 60}
SUBJECT = {"issuer": "https://i", "subject": "s", "reason": "r", "since": "2026-01-31T12:00:00.000Z"}
STATE = {"domain": "example.org", "quarantine": [SUBJECT], "issuers": [], "grants": []}
GOVERNANCE = {"system": "pay", "audience": "placet:example.org:pay", "warrant_required": True, "revoked_results": []}

#: By name: what reads, what it may raise, and something that it reads or nearly reads.
READERS = {
    "bundle": (lambda raw: parse_bundle(gzip.compress(raw, mtime=0)), PlacetError, bundle_of(MANIFEST)),
    "manifest": (lambda raw: parse_bundle(write_archive({".manifest": raw, "a.rego": b""})), PlacetError, MANIFEST),
    "data": (
        lambda raw: parse_bundle(write_archive({".manifest": MANIFEST, "a.rego": b"", "data.json": raw})),
        PlacetError,
        b'{"app": {"a": [1, {"b": null}]}}',
    ),
    "YAML": (strict_yaml.load, strict_yaml.StrictYAMLError, POLICY),
    "verification policy": (InAFile(VerificationPolicy.load), PlacetError, POLICY),
    "proof policy": (InAFile(ProofPolicy.load), PlacetError, b"sidecars:\n- {identity: a, issuer: b}\n"),
    "trust config": (InAFile(TrustConfig.from_file), PlacetError, b'{"mediaType": "x", "trustedRoot": {"tlogs": []}}'),
    "checkpoint": (lambda raw: Checkpoint.read(raw, _Trust()), PlacetError, CHECKPOINT),
    "declaration": (
        lambda raw: modes.read_declaration(raw.decode("utf-8", "surrogateescape")),
        PlacetError,
        json.dumps(DECLARED).encode(),
    ),
    "execution proof": (ExecutionProof.read, PlacetError, b'{"decisions":[],"links":[],"releases":{}}'),
    "warrant trust": (
        lambda raw: WarrantTrust.load(raw, "the trust"),
        PlacetError,
        b'{"issuer": "https://i", "keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "k", "alg": "EdDSA"}]}',
    ),
    "public key": (load_public, PlacetError, PEM),
    "private key": (load_private, PlacetError, PEM.replace(b"PUBLIC", b"PRIVATE")),
    "expected entries": (
        lambda raw: checked_page(json.loads(raw), "the page"),
        (PlacetError, ValueError),
        b'{"entries": []}',
    ),
    "record for replay": (
        read_record,
        Unavailable,
        b'{"path": "placet/decision", "input": {}, "result": {}, "bundles": {}}',
    ),
    "root certificate": (
        lambda raw: vet(raw.decode("latin-1")),
        RootRefused,
        PEM.replace(b"PUBLIC KEY", b"CERTIFICATE"),
    ),
    "layout": (InAFile(layout_form.load), PlacetError, LAYOUT),
    "build notes": (
        lambda raw: building.release_statements(BUNDLE, raw, "x.tar.gz"),
        PlacetError,
        json.dumps(NOTES).encode(),
    ),
    "channel pointer": (ChannelPointer.model_validate_json, ValidationError, json.dumps(POINTER).encode()),
    "published state": (PublishedState.model_validate_json, ValidationError, json.dumps(STATE).encode()),
    "published governance": (SystemGovernance.model_validate_json, ValidationError, json.dumps(GOVERNANCE).encode()),
    "attestations": (split_attestations, (), b"{}\n{}\n"),
}

SIGNS = [b"", b"\n", b"\n\n", b": ", b"- ", b"&a", b"*a", b"{", b"}", b"[", b"]", b'"', b"=", b"<<: ", b"\xe2\x80\x94 "]
VALUES = [b"null", b"-1", b"1e999", b"NaN", b"0" * 40, b"!!python/object:x "]
TEXTS = [b"\\u0000", b"\\ud800", b"\xff", b"\xe2\x80\xae", b"\0"]

WORDS = st.sampled_from([*SIGNS, *VALUES, *TEXTS])


@st.composite
def damaged(draw, good):
    """Something good with pieces taken out, put in, doubled or replaced; or nothing of the kind at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    raw = good
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(0, len(raw)))
        length = draw(st.sampled_from([0, 1, 2, 8, 64]))
        raw = raw[:where] + draw(WORDS | st.binary(max_size=4)) + raw[where + length :]
    return raw


@pytest.mark.parametrize("name", READERS)
def test_a_reader_refuses_in_its_own_words(reads, name):
    reader, refusal, good = READERS[name]
    read = reads(reader)

    @given(damaged(good))
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def fuzzed(raw):
        said = ""
        with soon():
            try:
                read(raw)
            except refusal as error:
                said = str(error) if isinstance(error, PlacetError) else ""
        assert "\n" not in said

    fuzzed()


def nested(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("raw", [b"", b"\0" * 5000, b"[" * 100_000, nested(60_000), b"9" * 100_000, b"- " * 30_000])
def test_a_reader_is_not_taken_by_size_or_depth(reads, name, raw):
    reader, refusal, _ = READERS[name]
    if name == "expected entries":
        refusal = (*refusal, RecursionError)  # of json, before it is asked
    with soon(), suppress(*(refusal if isinstance(refusal, tuple) else (refusal,))):
        reads(reader)(raw)
