"""One OPA process: unmodified, closed, started by the agent with nothing that the agent did not write.

Its standard error is the record file, opened for appending: OPA writes a decision's record there before it
answers. OPA outlives a killed agent on purpose; without the agent its lease ends, and it denies.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from app.core.errors import PlacetError
from app.core.files import write_atomically
from app.core.opa import Opa
from app.core.shipped import shipped
from app.sidecar import bundle_server, record_origin
from app.sidecar.config import SidecarConfig, SidecarFiles
from app.sidecar.opa_api import MAX_REQUEST, OpaApi
from app.sidecar.pki import SidecarCA

#: Seconds that OPA has to end after SIGTERM before it is killed.
_GRACE = 4.0
#: Bytes of a gzipped request after decompression.
_MAX_GZIP = 65536


class OpaProcess:
    """A running OPA. `api` speaks to it with the agent's token."""

    def __init__(self, process: subprocess.Popen[bytes], api: OpaApi, records: Path) -> None:
        self._process = process
        self.api = api
        #: The record file of this process.
        self.records = records

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """The exit code, or None while the process runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End the process, by force if it must be."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=_GRACE)
            except subprocess.TimeoutExpired:
                self.kill()
        self.api.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()


def start(config: SidecarConfig, opa: Opa, ca: SidecarCA, bundle_port: int) -> OpaProcess:
    """Start OPA. It does not listen before it has activated the bundle that the agent serves."""
    files = config.files
    if Opa(opa.binary).digest != opa.digest:
        raise PlacetError(f"{opa.binary} changed since the agent started; start the agent anew if that was you")
    token = secrets.token_urlsafe(32)
    files.socket.unlink(missing_ok=True)
    ca.server_leaf(files.run / "opa.pem", files.run / "opa.key")
    ca.client_leaf(files.run / "opa-client.pem", files.run / "opa-client.key")
    _write_json(files.run / "opa.json", _configuration(config, bundle_port))
    write_atomically(files.run / "authz.rego", _authz(token), mode=0o600)
    records = _next_record_file(files)
    record_origin.note(records, opa.digest)
    with _append_only(records) as stderr, (files.run / "opa.out").open("wb") as stdout:
        try:
            process = subprocess.Popen(
                [str(opa.binary), *_arguments(config)],
                cwd=files.run,
                env={"GOGC": "400", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as error:
            raise PlacetError(f"cannot start {opa.binary}: {error.strerror}") from error
    _write_json(files.run / "opa.pid.json", _identity(process.pid))
    return OpaProcess(process, OpaApi(files.socket, token, timeout=max(1.0, config.lease_ttl / 3)), records)


def end_orphan(config: SidecarConfig) -> int | None:
    """Kill the OPA that an earlier agent left behind: nobody can vouch for how it was started. Returns its pid."""
    note = config.files.run / "opa.pid.json"
    try:
        known = json.loads(note.read_bytes())
        pid = int(known["pid"]) if known is not None else 0
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise PlacetError(f"{note} is damaged; end the OPA of this sidecar yourself and delete the file") from error
    if not pid or _identity(pid) != known:
        return None
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _identity(pid) == known:
        if time.monotonic() > deadline:
            raise PlacetError(f"the earlier OPA (process {pid}) does not end")
        time.sleep(0.02)
    return pid


def require_free_port(port: int, *, patience: float = 0.0) -> None:
    """Raise `PlacetError` when another process still listens on `port` after `patience` seconds.

    A killed process of many threads holds its port until the last of them has ended.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                why = os.strerror(error.errno or 0)
                raise PlacetError(f"port {port} on 127.0.0.1 is not free: {why}; choose another with --port") from error
        time.sleep(0.05)


def start_error(process: OpaProcess) -> str:
    """Why OPA ended at its start, in one line: what it wrote."""
    for path in (process.records, process.records.parent.parent / "run" / "opa.out"):
        with path.open("rb") as file:
            for line in file.read(64 * 1024).decode(errors="replace").splitlines():
                line = line.strip("\0 \t\r")  # blocks that were freed already read as zeros
                if line and "running with uid or gid 0" not in line and '"Decision Log"' not in line:
                    return line[:300]
    return f"exit code {process.exit_code()}"


def _arguments(config: SidecarConfig) -> list[str]:
    # Paths are relative to the working directory: a unix socket's path may have 107 bytes at most.
    return [
        "run",
        "--server",
        "--config-file=opa.json",
        f"--addr=https://127.0.0.1:{config.port}",
        f"--addr=unix://{config.files.socket.name}",
        "--unix-socket-perm=700",
        "--tls-cert-file=opa.pem",
        "--tls-private-key-file=opa.key",
        "--authentication=token",
        "--authorization=basic",
        "--ready-timeout=30",
        # Lists of quarantine and revocations can be long: each decision would convert them anew.
        "--optimize-store-for-read-speed",
        "--log-level=error",
        "--skip-version-check",
        "--shutdown-grace-period=2",
        "authz.rego",
    ]


def _configuration(config: SidecarConfig, bundle_port: int) -> dict[str, Any]:
    files = config.files
    return {
        "services": {
            "agent": {
                "url": f"https://127.0.0.1:{bundle_port}",
                "tls": {"ca_cert": str(files.ca.resolve())},
                "credentials": {"client_tls": {"cert": "opa-client.pem", "private_key": "opa-client.key"}},
            }
        },
        "bundles": {
            "placet": {
                "service": "agent",
                "resource": bundle_server.RESOURCE,
                "polling": {"long_polling_timeout_seconds": 30, "min_delay_seconds": 1, "max_delay_seconds": 2},
            }
        },
        "decision_logs": {
            "console": True,
            "mask_decision": "/placet_log/mask",
            "drop_decision": "/placet_log/drop",
        },
        "status": {"prometheus": True},
        "nd_builtin_cache": True,
        "server": {"decoding": {"max_length": MAX_REQUEST, "gzip": {"max_length": _MAX_GZIP}}},
        "caching": {"inter_query_builtin_value_cache": {"named": {"io_jwt": {"max_num_entries": 10000}}}},
        "labels": {"system": config.system, "channel": config.channel, "sidecar": config.name},
    }


def _authz(token: str) -> bytes:
    template = (shipped("rego") / "authz" / "authz.rego").read_text()
    digest = hashlib.sha256(token.encode()).hexdigest()
    head, mark, tail = template.rpartition("AGENT_TOKEN_SHA256")
    if not mark:
        raise PlacetError("this installation of placet is incomplete: authz.rego has no place for the token")
    return (head + digest + tail).encode()


def _append_only(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _next_record_file(files: SidecarFiles) -> Path:
    """A name that was never used before, and that nobody can guess.

    The control plane tells files of one instance apart by their names. A neighbour with a token of the same system
    could otherwise ship under the next name before its time, and leave no place for the real records.
    """
    counter = files.private / "record-files"
    try:
        number = int(counter.read_text()) + 1 if counter.exists() else 1
        if number < 1:
            raise ValueError(number)
    except ValueError as error:
        raise PlacetError(f"{counter} is damaged; write the number of the last record file into it") from error
    write_atomically(counter, str(number).encode())
    return files.records / f"{number:08d}-{secrets.token_hex(8)}.log"


def _write_json(path: Path, document: dict[str, Any] | None) -> None:
    write_atomically(path, json.dumps(document, indent=1).encode(), mode=0o600)


def _identity(pid: int) -> dict[str, Any] | None:
    """What tells a process from another that got its number later: when it started, and its program."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] == "Z":
            return None
        return {"pid": pid, "started": fields[19], "program": str(Path(f"/proc/{pid}/exe").readlink())}
    except OSError:
        return None
