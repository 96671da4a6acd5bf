"""How each server of the local stack is started, and the path that tells that it answers.

Flags and traps as tried with the pinned versions. No secret stands in an argument list: Fulcio's password goes
into a settings file of mode 0600.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from app.core.files import write_atomically
from app.local.ports import LOOPBACK
from app.local.sigstore.issuer import SIGSTORE_AUDIENCE
from app.local.sigstore.keys import Keys
from app.local.sigstore.trust_config import REKOR_ORIGIN

#: The path below which the CT log takes submissions; part of its URL.
CT_LOG_PREFIX = "placet"
#: The CT log's name in its checkpoints. Without the port, so that the log can move to another.
_CT_LOG_ORIGIN = f"{LOOPBACK}/{CT_LOG_PREFIX}"

#: The tools that the stack needs.
TOOLS = ("fulcio", "tesseract", "timestamp-server", "rekor")


#: What each service is called in messages.
NAMES = {
    "issuer": "the OIDC issuer",
    "ct_log": "the CT log",
    "fulcio": "Fulcio",
    "tsa": "the timestamp authority",
    "rekor": "Rekor",
    "tiles": "the server of Rekor's tiles",
}

#: The path below each service's URL that answers 200 once it serves.
READY = {
    "issuer": "/.well-known/openid-configuration",
    "ct_log": "/ct/v1/get-roots",
    "fulcio": "/healthz",
    "tsa": "/ping",
    "rekor": "/healthz",
    "tiles": "/healthz",
}

Arguments = list[str]


def ct_log(binaries: Mapping[str, Path], keys: Keys, port: int, directory: Path) -> Arguments:
    """TesseraCT, which logs the certificates that Fulcio makes."""
    flags = {
        "http_endpoint": f"{LOOPBACK}:{port}",
        "origin": _CT_LOG_ORIGIN,
        "path_prefix": CT_LOG_PREFIX,
        "private_key": keys.ct_log_key,
        "storage_dir": directory,
        "roots_pem_file": keys.ca_certificate,
        # Fulcio waits for the checkpoint that covers its certificate; the defaults make that a second or two.
        "checkpoint_interval": "100ms",
        "batch_max_age": "10ms",
    }
    return [str(binaries["tesseract"]), *_options(flags)]


def fulcio(
    binaries: Mapping[str, Path],
    keys: Keys,
    port: int,
    directory: Path,
    *,
    issuer: str,
    log: str,
    spiffe_issuers: Mapping[str, str],
    more: Mapping[str, Any] | None = None,
) -> Arguments:
    """Fulcio, which takes tokens of `issuer` that carry a verified e-mail address.

    And those of `spiffe_issuers` (URL to trust domain) for SPIFFE IDs of each one's own trust domain; and what `more`
    of its configuration says. Fulcio asks an issuer for its keys when it starts, and again when a token comes from one
    that did not answer then.
    """
    issuers = directory / "issuers.yaml"
    settings = issuers.with_name("settings.json")
    legacy_socket = issuers.with_name("legacy.sock")
    legacy_socket.unlink(missing_ok=True)  # of a run that was killed; Fulcio would fail on it
    trusted = {issuer: {"issuer-url": issuer, "client-id": SIGSTORE_AUDIENCE, "type": "email"}}
    for url, domain in spiffe_issuers.items():
        own = {"type": "spiffe", "spiffe-trust-domain": domain}
        trusted[url] = {"issuer-url": url, "client-id": SIGSTORE_AUDIENCE, **own}
    # In YAML, as Fulcio's own for the public-good instance is: JSON has other names for the same.
    whole = {**(more or {}), "oidc-issuers": {**(more or {}).get("oidc-issuers", {}), **trusted}}
    write_atomically(issuers, yaml.safe_dump(whole).encode())
    write_atomically(
        settings,
        json.dumps(
            {
                "ca": "fileca",
                "fileca-cert": str(keys.ca_certificate),
                "fileca-key": str(keys.ca_key),
                "fileca-key-passwd": keys.ca_password.read_text(),
                "fileca-watch": False,
                "ct-log-url": log,
                "ct-log-public-key-path": str(keys.ct_log_public_key),
                "config-path": str(issuers),
                "host": LOOPBACK,
                "port": str(port),
                # Any free port: only its own HTTP side calls it. (One port for both panics in 1.8.8.)
                "grpc-host": LOOPBACK,
                "grpc-port": "0",
                # Relative to the directory in which it runs, because a socket's path holds 107 bytes.
                "legacy-unix-domain-socket": legacy_socket.name,
                # Fulcio has no flag for the address of its metrics, which it opens on every interface;
                # with 0 at least no two stacks want the same port.
                "metrics-port": "0",
            },
            indent=2,
        ).encode(),
    )
    return [str(binaries["fulcio"]), "serve", f"--config={settings}"]


def timestamp_authority(binaries: Mapping[str, Path], keys: Keys, port: int) -> Arguments:
    """The RFC 3161 timestamp authority."""
    flags = {"host": LOOPBACK, "port": port, "key": keys.tsa_key, "chain": keys.tsa_chain}
    return [str(binaries["timestamp-server"]), *_options(flags)]


def rekor(binaries: Mapping[str, Path], keys: Keys, port: int, grpc_port: int, directory: Path) -> Arguments:
    """Rekor v2, the transparency log. `grpc_port` is its own affair; it must not be 0."""
    flags = {
        "http-address": LOOPBACK,
        "http-port": port,
        "grpc-address": LOOPBACK,
        "grpc-port": grpc_port,
        "http-metrics-port": 0,
        "hostname": REKOR_ORIGIN,
        "storage-dir": directory,
        "signer-filepath": keys.rekor_key,
        "checkpoint-interval": "100ms",
        "batch-max-age": "20ms",
        # How long it may wait for its queue when it is stopped.
        "tlog-timeout": "2s",
    }
    return [str(binaries["rekor"]), "serve", *_options(flags)]


def _options(flags: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
