"""An OCI registry, to read from: https://github.com/opencontainers/distribution-spec/blob/main/spec.md .

As nobody where it lets everybody pull; else with the login that the user has there. Plain http, and with it logins
that anybody on the way could read, never leaves the machine.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from app.core import registry_login, strict_json
from app.core.errors import PlacetError, UsageError
from app.core.registry_login import Login

#: Bytes of a token.
_MAX_TOKEN = 1024 * 1024
#: Seconds in which a registry must go on with an answer, and in which it must end it.
_TIMEOUT = 60.0
_LONGEST = 600.0
_REDIRECTS = (301, 302, 303, 307, 308)
_LOCAL = ("localhost", "127.0.0.1")
_REFERENCE = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(:[0-9]+)?)/(?P<name>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class Reference:
    """What `oci://HOST/NAME:TAG` or `oci://HOST/NAME@sha256:…` names."""

    source: str
    host: str
    name: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, source: str) -> Reference:
        """Raises `UsageError`."""
        match = _REFERENCE.fullmatch(source)
        if not match or not (match["tag"] or match["digest"]):
            raise UsageError(f"{source}: write oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:DIGEST")
        return cls(source, match["host"], match["name"], match["tag"], match["digest"])

    @property
    def local(self) -> bool:
        """Whether the registry is on this machine, and may speak plain http."""
        return self.host.split(":")[0] in _LOCAL


@contextmanager
def opened(reference: Reference) -> Iterator[Registry]:
    """The registry that holds what is named."""
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=not reference.local) as client:
        yield Registry(client, reference)


class Registry:
    """Reads one repository of a registry."""

    def __init__(self, client: httpx.Client, reference: Reference) -> None:
        self._client = client
        self._reference = reference
        self._source = reference.source
        self._login: Login | None = None
        #: The value of the header Authorization, once the registry asked for one.
        self._shown: str | None = None
        #: Why the user's login could not be had.
        self._missing = ""

    def get(self, path: str, limit: int, *, accept: str = "*/*") -> bytes:
        """What lies at `path` below the repository. Raises `UsageError` when nothing does, else `PlacetError`."""
        scheme = "http" if self._reference.local else "https"
        try:
            url = httpx.URL(f"{scheme}://{self._reference.host}/v2/{self._reference.name}/{path}")
            status, headers, body = self._ask(url, limit, accept, shown=self._shown)
            if status == 401 and self._shown is None:
                self._shown = self._admission(headers.get("www-authenticate", ""))
                status, headers, body = self._ask(url, limit, accept, shown=self._shown)
            for _ in range(3):  # blobs often lie in object storage, elsewhere
                if status not in _REDIRECTS:
                    break
                url = url.join(headers.get("location", ""))
                if not self._safe(url):
                    raise PlacetError(f"{self._source}: the registry leads to an address without TLS")
                status, headers, body = self._ask(url, limit, accept)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: of a host that IDNA refuses
            raise PlacetError(
                f"{self._source}: the registry does not answer: {type(error).__name__} {error}"
            ) from error
        if status in (401, 403):
            raise self._refused()
        if status == 404:
            raise UsageError(f"{self._source}: the registry has no such artifact")
        if status != 200:
            raise PlacetError(f"{self._source}: the registry answered {status}")
        return body

    def _safe(self, url: httpx.URL) -> bool:
        return url.scheme == "https" or (self._reference.local and url.host in _LOCAL)

    def _ask(
        self,
        url: httpx.URL,
        limit: int,
        accept: str = "*/*",
        *,
        shown: str | None = None,
        form: dict[str, str] | None = None,
    ) -> tuple[int, httpx.Headers, bytes]:
        # Digests are of the bytes as they are stored.
        headers = {"Accept": accept, "Accept-Encoding": "identity", **({"Authorization": shown} if shown else {})}
        body = bytearray()
        deadline = time.monotonic() + _LONGEST
        with self._client.stream("POST" if form else "GET", url, headers=headers, data=form) as answer:
            for chunk in answer.iter_raw():
                body += chunk
                if len(body) > limit:
                    raise PlacetError(f"{self._source}: the registry sent more than {limit} bytes")
                if time.monotonic() > deadline:
                    raise PlacetError(f"{self._source}: the registry took more than {_LONGEST:g} s for one answer")
        return answer.status_code, answer.headers, bytes(body)

    def _admission(self, challenge: str) -> str | None:
        """What to show after a challenge: the login itself, or a token that was had for it."""
        try:
            self._login = registry_login.find(self._reference.host, self._reference.name)
        except PlacetError as error:  # it may do without
            self._missing = f": {error}"
        if challenge.lower().startswith("bearer "):
            return self._token(dict(re.findall(r'(\w+)="([^"]*)"', challenge)))
        return self._login.basic if self._login else None

    def _token(self, told: dict[str, str]) -> str | None:
        """By https://distribution.github.io/distribution/spec/auth/token/, and …/auth/oauth/ with an identity token."""
        realm = httpx.URL(told.get("realm", ""))
        if not self._safe(realm):
            raise PlacetError(f"{self._source}: the registry asks for logins at an address without TLS")
        wanted = {name: value for name, value in told.items() if name in ("service", "scope")}
        login = self._login
        if login and login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "placet"}
            status, _, body = self._ask(realm, _MAX_TOKEN, form={**form, **wanted})
        else:
            basic = login.basic if login else None
            status, _, body = self._ask(realm.copy_merge_params(wanted), _MAX_TOKEN, shown=basic)
        if status in (401, 403):
            raise self._refused()
        if status != 200:
            raise PlacetError(f"{self._source}: {realm.host}, which gives tokens for the registry, answered {status}")
        try:
            document = strict_json.load_object(body)
        except strict_json.StrictJSONError as error:
            raise PlacetError(f"{self._source}: the registry gave no token: {error}") from error
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise PlacetError(f"{self._source}: the registry gave no token")
        return f"Bearer {token}"

    def _refused(self) -> PlacetError:
        host = self._reference.host
        again = f"docker login {host}, podman login {host} or oras login {host}"
        if self._login is None:
            return PlacetError(f"{self._source}: the registry wants a login{self._missing}; log in with {again}")
        user = "your token" if self._login.identity_token else repr(self._login.user)
        return PlacetError(
            f"{self._source}: the registry does not let {user} pull it (the login of {self._login.file}); "
            f"ask for the right to, or log in again with {again}"
        )
