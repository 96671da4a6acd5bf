"""The local Sigstore as a whole: start it, wait until it answers, stop it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from app.core import loopback
from app.core.errors import PlacetError, UsageError
from app.core.file_lock import AlreadyLocked, file_lock
from app.core.files import write_atomically
from app.core.trust_domain import trust_domain
from app.local import tools
from app.local.children import Children
from app.local.ports import LOOPBACK, free_ports
from app.local.sigstore import keys, services
from app.local.sigstore.issuer import DEFAULT_TTL, SIGSTORE_AUDIENCE, Issuer, IssuerServer
from app.local.sigstore.ports import Ports, bind
from app.local.sigstore.tile_server import PREFIX, TileServer
from app.local.sigstore.trust_config import trust_config

#: Seconds within which every service must answer after the start.
START_TIMEOUT = 60.0


class LocalSigstore:
    """A Sigstore on loopback whose keys, logs and ports live in one directory and survive restarts.

    Use it as a context manager, or call `start` and `stop`. `ports` default to those used before in `directory`,
    else to free ones; `binaries` (tool name to path) default to the installed tools.

    `spiffe_issuers` (URL to trust domain) are issuers of workloads' identities that Fulcio trusts as well, each for
    its own trust domain alone; they need not answer yet when it starts. `fulcio_config` is more of Fulcio's own
    configuration, as its `config/identity/config.yaml` has it. Raises `UsageError` for what makes no sense.
    """

    def __init__(
        self,
        directory: Path,
        ports: Ports | None = None,
        *,
        binaries: Mapping[str, Path] | None = None,
        spiffe_issuers: Mapping[str, str] | None = None,
        fulcio_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.ports = ports or Ports.kept_in(self.directory) or Ports.free()
        self.spiffe_issuers = {url: checked_spiffe_issuer(url, name) for url, name in (spiffe_issuers or {}).items()}
        if self.issuer_url in self.spiffe_issuers:
            # It would vouch for whatever the owner of its key says, and no longer for people.
            raise UsageError(f"{self.issuer_url} is the development issuer; a SPIFFE issuer is another one")
        self._fulcio_config = fulcio_config
        self._binaries = binaries
        self._running = ExitStack()
        self._servers: dict[str, Popen[bytes]] = {}

    @property
    def trust_config(self) -> Path:
        """The ClientTrustConfig file for sigstore-python, cosign and `placet --trust-config`."""
        return self.directory / "trust-config.json"

    @property
    def issuer_url(self) -> str:
        """The URL of the OIDC issuer: the `iss` of its tokens and the issuer in certificates."""
        return self._url(self.ports.issuer)

    @property
    def urls(self) -> dict[str, str]:
        """The base URL of each service."""
        return {
            "issuer": self.issuer_url,
            "fulcio": self._url(self.ports.fulcio),
            "ct_log": f"{self._url(self.ports.ct_log)}/{services.CT_LOG_PREFIX}",
            "tsa": self._url(self.ports.tsa),
            "rekor": self._url(self.ports.rekor),
            "tiles": f"{self._url(self.ports.tiles)}{PREFIX}",
        }

    def token(
        self, identity: str, audience: str = SIGSTORE_AUDIENCE, ttl: float = DEFAULT_TTL, **claims: object
    ) -> str:
        """An identity token of the development issuer, see `Issuer.token`. The stack need not run."""
        return self._issuer().token(identity, audience, ttl, **claims)

    def jwks(self) -> dict[str, Any]:
        """The issuer's public keys as a JWK set."""
        return self._issuer().jwks()

    def start(self) -> None:
        """Start all services and return once each answers.

        Raises `PlacetError`, with nothing left running, when a port is in use, a tool is missing or dies, a
        service does not answer in time, or another process runs a stack in this directory.
        """
        try:
            with ExitStack() as starting:
                self._start(starting)
                self._running = starting.pop_all()
        except AlreadyLocked as error:
            raise PlacetError(f"a local Sigstore runs already in {self.directory}; stop it first") from error
        except OSError as error:
            raise PlacetError(f"{self.directory} cannot be used: {error}; --dir names another directory") from error

    def stop(self) -> None:
        """Stop all services. Harmless when none runs."""
        self._running.close()

    def check(self) -> None:
        """Raise `PlacetError` when a service that was started has ended."""
        for service, server in self._servers.items():
            if server.poll() is not None:
                name = services.NAMES[service]
                raise PlacetError(f"{name} ended with exit code {server.returncode}: {self._last_words(service)}")

    def status(self) -> dict[str, bool]:
        """For each service whether it answers, whoever runs it."""
        with httpx.Client(timeout=2.0, trust_env=False) as client:
            return {service: _answers(client, url) for service, url in self._ready_urls().items()}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, starting: ExitStack) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        starting.enter_context(file_lock(self.directory / "lock"))
        binaries = self._binaries or {name: tools.installed(name) for name in services.TOOLS}
        self.ports.check_free()
        own_keys = keys.load_or_create(self._keys_directory)
        self.ports.keep_in(self.directory)
        write_atomically(self.trust_config, trust_config(own_keys, **self._trusted_urls), mode=0o644)

        issuer_server = IssuerServer(self._issuer(), bind(self.ports.issuer, "issuer"))
        starting.callback(issuer_server.stop)
        issuer_server.start()
        tile_server = TileServer(self._directory("rekor"), bind(self.ports.tiles, "tiles"))
        starting.callback(tile_server.stop)
        tile_server.start()
        children = Children()
        starting.callback(self._servers.clear)
        starting.callback(children.stop)
        self._launch(children, binaries, own_keys)
        self._wait_until_ready()

    @property
    def _keys_directory(self) -> Path:
        return self.directory / "keys"

    def _url(self, port: int) -> str:
        return f"http://{LOOPBACK}:{port}"

    @property
    def _trusted_urls(self) -> dict[str, str]:
        """Those that clients of Sigstore know. Nothing that is read from the tiles needs to be trusted."""
        return {service: url for service, url in self.urls.items() if service != "tiles"}

    def _ready_urls(self) -> dict[str, str]:
        return {service: url + services.READY[service] for service, url in self.urls.items()}

    def _issuer(self) -> Issuer:
        return Issuer(self.issuer_url, keys.load(self._keys_directory))

    def _launch(self, children: Children, binaries: Mapping[str, Path], own: keys.Keys) -> None:
        ports = self.ports
        for service in ("ct_log", "fulcio", "tsa", "rekor"):
            self._directory(service).mkdir(mode=0o700, exist_ok=True)
        [rekor_grpc_port] = free_ports(1)
        commands = {
            "ct_log": services.ct_log(binaries, own, ports.ct_log, self._directory("ct_log")),
            "fulcio": services.fulcio(
                binaries,
                own,
                ports.fulcio,
                self._directory("fulcio"),
                issuer=self.issuer_url,
                log=self.urls["ct_log"],
                spiffe_issuers=self.spiffe_issuers,
                more=self._fulcio_config,
            ),
            "tsa": services.timestamp_authority(binaries, own, ports.tsa),
            "rekor": services.rekor(binaries, own, ports.rekor, rekor_grpc_port, self._directory("rekor")),
        }
        for service, command in commands.items():
            home = self._directory(service)
            with self._log_file(service).open("wb") as log:
                try:
                    # Nothing but HOME in the environment: these servers take settings from variables of many names.
                    self._servers[service] = children.start(
                        command, output=log, environment={"HOME": str(home)}, directory=home
                    )
                except OSError as error:
                    raise PlacetError(f"{services.NAMES[service]} cannot be started: {error}") from error

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        waiting = self._ready_urls()
        with httpx.Client(timeout=2.0, trust_env=False) as client:
            while waiting:
                self.check()
                waiting = {service: url for service, url in waiting.items() if not _answers(client, url)}
                if waiting and time.monotonic() > deadline:
                    service = next(iter(waiting))
                    raise PlacetError(
                        f"{services.NAMES[service]} did not answer within {START_TIMEOUT:.0f} s: "
                        f"{self._last_words(service)}"
                    )
                if waiting:
                    time.sleep(0.05)
        self.check()  # what answered may have been somebody else, on a port that our server did not get

    def _directory(self, service: str) -> Path:
        return self.directory / service.replace("_", "-")

    def _log_file(self, service: str) -> Path:
        return self._directory(service).with_suffix(".log")

    def _last_words(self, service: str) -> str:
        """The end of what a service printed, for an error message of one line."""
        path = self._log_file(service)
        if not path.is_file():
            return "it printed nothing"
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8192))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        # Of a Go panic the first line says what happened; the rest is where.
        telling = [line for line in lines if line.startswith("panic:")][:1] or lines[-3:]
        return f"{' / '.join(telling) or 'it printed nothing'} (log: {path})"


def checked_spiffe_issuer(url: str, domain: str) -> str:
    """The trust domain, after a look at it and at the issuer's URL. Raises `UsageError`."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or url.endswith("/") or "?" in url or "#" in url:
        raise UsageError(f"{url!r} is no issuer: give its URL as in the iss of its tokens, without a slash at the end")
    if parts.scheme == "http" and parts.hostname not in loopback.NAMES:
        raise UsageError(f"{url} must be https: over plain http anyone on the way could give its keys")
    return trust_domain(domain)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
