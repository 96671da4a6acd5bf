"""How a sidecar comes to its own API token, which it keeps in its directory.

It joins once with a join token; or enrols with its workload's identity token, once and again when that was lost.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from app.core import strict_json
from app.core.errors import Denied, PlacetError, UsageError, reason_of
from app.core.files import read_bounded, write_atomically
from app.sidecar.config import SidecarFiles

#: Seconds for the one call.
_TIMEOUT = 15.0
_MAX_FILE = 4096
_MAX_ANSWER = 64 * 1024
_MAX_IDENTITY = 8192
_MEMBERS = {"token", "system", "sidecar", "joined_with"}
#: In place of the id of a join token.
_BY_IDENTITY = "identity token"


def kept(files: SidecarFiles) -> Path:
    """Where the token lies, mode 0600: beside it, of which sidecar it is, and the id of the join token."""
    return files.private / "enrolment.json"


def own_token(
    files: SidecarFiles, server: str, server_ca: Path | None, system: str, name: str, join_token: str | None = None
) -> str | None:
    """The sidecar's own API token: the one in its directory, else the one that `join_token` is exchanged for.

    The directory's is also taken when `join_token` is the one that it came from, so that a service may be started
    with the same arguments each time. None when there is neither. Raises `PlacetError`, and `Denied` when the control
    plane refuses to exchange it.
    """
    held = _of(files, system, name)
    if join_token is None:
        return held["token"] if held else None
    identifier = _identifier(join_token)
    if held is not None and held["joined_with"] == identifier:
        return held["token"]
    token = _exchange(server, server_ca, "/api/v1/join", {"join_token": join_token}, system, name)
    return _keep(files, token, system, name, identifier)


def enrolled_token(
    files: SidecarFiles, server: str, server_ca: Path | None, system: str, name: str, identity_token: Path
) -> str:
    """The sidecar's own API token: the one in its directory, else one for the identity token in that file.

    It enrols anew when the control plane does not know the directory's token any more. Raises `PlacetError`, and
    `Denied` with the reason why the control plane refuses to.
    """
    held = _of(files, system, name)
    if held is not None and not _is_revoked(server, server_ca, system, held["token"]):
        return held["token"]
    text = read_bounded(identity_token, _MAX_IDENTITY, "the identity token").decode("utf-8", "replace").strip()
    token = _exchange(server, server_ca, "/api/v1/enrol", {"identity_token": text}, system, name)
    return _keep(files, token, system, name, _BY_IDENTITY)


def _of(files: SidecarFiles, system: str, name: str) -> dict[str, str] | None:
    """What the directory holds, which must be this sidecar's."""
    held = _held(files)
    if held is not None and (held["system"], held["sidecar"]) != (system, name):
        raise PlacetError(
            f"{files.root} is the directory of the sidecar {held['sidecar']} of {held['system']}; "
            "give this one a directory of its own"
        )
    return held


def _keep(files: SidecarFiles, token: str, system: str, name: str, joined_with: str) -> str:
    mine = {"token": token, "system": system, "sidecar": name, "joined_with": joined_with}
    write_atomically(kept(files), strict_json.canonical(mine) + b"\n", mode=0o600)
    return token


def _held(files: SidecarFiles) -> dict[str, str] | None:
    path = kept(files)
    if not path.exists():
        return None
    if path.stat().st_mode & 0o077:
        raise PlacetError(f"others can read {path}; have this sidecar's token revoked, and invite it anew")
    try:
        held = strict_json.load_object(read_bounded(path, _MAX_FILE, "the sidecar's token"))
    except strict_json.StrictJSONError:
        held = {}
    if held.keys() != _MEMBERS or not all(isinstance(value, str) and value for value in held.values()):
        raise PlacetError(f"{path} is damaged; delete it, and invite this sidecar anew")
    return held


def _identifier(join_token: str) -> str:
    """Its second part, which is no secret."""
    parts = join_token.split("_", 2)
    if len(parts) != 3 or not (join_token.isascii() and join_token.isprintable()) or " " in join_token:
        raise UsageError("the join token is malformed; it looks like placet-join_ID_SECRET")
    return parts[1]


def _is_revoked(server: str, server_ca: Path | None, system: str, token: str) -> bool:
    """Whether the control plane says that it does not know a token. One that is silent says nothing: it may be down."""
    try:
        with _client(server, server_ca) as http:
            answer = http.get(f"/api/v1/systems/{system}", headers={"Authorization": f"Bearer {token}"})
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.UNAUTHORIZED


def _client(server: str, server_ca: Path | None) -> httpx.Client:
    tls = ssl.create_default_context(cafile=str(server_ca)) if server_ca else httpx.create_ssl_context(trust_env=False)
    return httpx.Client(base_url=server, timeout=_TIMEOUT, trust_env=False, verify=tls)


def _exchange(server: str, server_ca: Path | None, path: str, shown: dict[str, str], system: str, name: str) -> str:
    """The API token that the control plane gives for what is shown to it."""
    wanted = shown | {"system": system, "sidecar": name}
    body = b""
    try:
        with _client(server, server_ca) as http, http.stream("POST", path, json=wanted) as answer:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > _MAX_ANSWER:
                    raise PlacetError("the control plane's answer is too large")
        document = strict_json.loads(body)
    except (httpx.HTTPError, ValueError) as error:
        raise PlacetError(f"cannot join: the control plane does not answer: {error or type(error).__name__}") from error
    if not isinstance(document, dict):
        document = {}
    if (reason := reason_of(document.get("reason"))) is not None:
        raise Denied(reason, f"cannot join: {document.get('detail')}")
    if not answer.is_success:
        raise PlacetError(f"cannot join: {document.get('detail') or f'status {answer.status_code}'}")
    token = document.get("token")
    if (document.get("system"), document.get("sidecar")) != (system, name) or not isinstance(token, str) or not token:
        raise PlacetError("cannot join: the control plane gave a token for another sidecar")
    return token
