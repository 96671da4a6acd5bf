"""Logins at OCI registries, where `docker login`, `podman login` and `oras login` leave them. Nothing is asked or kept.

Forms: https://docs.docker.com/reference/cli/docker/login/#credential-stores and
https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import strict_json
from app.core.errors import PlacetError
from app.core.files import read_bounded

#: Bytes of a file of logins, and seconds for a program that keeps them.
_MAX_CONFIG = 1024 * 1024
_HELPER_TIMEOUT = 60
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: As whom a program gives what is no password but an identity token.
_TOKEN_USER = "<token>"  # noqa: S105
#: Under which name logins at Docker's own registry are kept.
_HUB = {"docker.io": "index.docker.io", "registry-1.docker.io": "index.docker.io"}
_HUB_URL = "https://index.docker.io/v1/"


@dataclass(frozen=True)
class Login:
    """What to show to a registry."""

    user: str
    secret: str
    #: The file that told.
    file: Path

    @property
    def identity_token(self) -> str | None:
        """The token to be changed for others, when the secret is one and no password."""
        return self.secret if self.user == _TOKEN_USER else None

    @property
    def basic(self) -> str:
        """The value of the header Authorization."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


def find(host: str, name: str) -> Login | None:
    """The login for the repository `name` at a registry, or None. Raises `PlacetError` when one cannot be had."""
    for file in files():
        config = _config(file)
        helpers = config.get("credHelpers")
        helper = (helpers.get(host) if isinstance(helpers, dict) else None) or config.get("credsStore")
        if helper and (login := _asked(str(helper), _HUB_URL if host in _HUB else host, file)):
            return login
        if login := _listed(config.get("auths"), host, name, file):
            return login
    return None


def files() -> list[Path]:
    """Where logins may be: the files that the environment names, else those of docker and podman, if they exist."""
    named = os.environ.get("REGISTRY_AUTH_FILE")
    docker = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    running = os.environ.get("XDG_RUNTIME_DIR")
    podman = [Path(running, "containers", "auth.json")] if running else []
    podman.append(Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "containers", "auth.json"))
    return [file for file in ([Path(named)] if named else [docker, *podman]) if file.is_file()]


def _config(file: Path) -> dict[str, Any]:
    try:
        return strict_json.load_object(read_bounded(file, _MAX_CONFIG, "the logins"))
    except strict_json.StrictJSONError as error:
        raise PlacetError(f"{file} holds no logins: {error}; mend it, or log in again") from error


def _listed(auths: Any, host: str, name: str, file: Path) -> Login | None:
    """The login that a file has itself, the one for the narrowest part of the repository's path first."""
    entries = auths if isinstance(auths, dict) else {}
    by_place = {re.sub(r"^https?://|/(v[12]/?)?$", "", str(key)): entry for key, entry in entries.items()}
    for place in _places(_HUB.get(host, host), name):
        entry = by_place.get(place)
        if isinstance(entry, dict) and (login := _of(entry, file)):
            return login
    return None


def _places(host: str, name: str) -> Iterator[str]:
    parts = name.split("/")
    for count in range(len(parts), -1, -1):
        yield "/".join([host, *parts[:count]])


def _of(entry: dict[str, Any], file: Path) -> Login | None:
    if isinstance(token := entry.get("identitytoken"), str) and token:
        return Login(_TOKEN_USER, token, file)
    user, secret = entry.get("username"), entry.get("password")
    if isinstance(encoded := entry.get("auth"), str) and encoded:
        try:
            user, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, ValueError) as error:
            raise PlacetError(f"{file}: a login is not base64 of USER:PASSWORD; log in again") from error
    return Login(user, secret, file) if isinstance(user, str) and isinstance(secret, str) and user else None


def _asked(helper: str, server: str, file: Path) -> Login | None:
    """The login that a program keeps: https://github.com/docker/docker-credential-helpers#development."""
    program = f"docker-credential-{helper}"
    if not _HELPER.fullmatch(helper):
        raise PlacetError(f"{file} names {helper[:50]!r}, which is no name of a docker-credential-… program")
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_TIMEOUT, check=False
        )
    except OSError as error:
        raise PlacetError(
            f"{file} keeps logins in {program}, which cannot be run: {error.strerror}; put it on the PATH"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise PlacetError(f"{program}, in which {file} keeps logins, did not answer in {_HELPER_TIMEOUT} s") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").strip() or f"exit code {done.returncode}"
        if "credentials not found" in said:
            return None
        raise PlacetError(f"{program} did not give the login for {server}: {said.splitlines()[0][:200]}")
    try:
        answer = strict_json.load_object(done.stdout)
    except strict_json.StrictJSONError as error:
        raise PlacetError(f"{program} gave no login for {server}: {error}") from error
    user, secret = answer.get("Username"), answer.get("Secret")
    return Login(user, secret, file) if isinstance(user, str) and isinstance(secret, str) and secret else None
