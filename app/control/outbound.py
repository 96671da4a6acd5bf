"""GET from the network, for key sets alone: bounded in bytes and time, over https, to addresses that are allowed.

What an administrator configures must not become a way into the control plane's own network: names are resolved
here, every address is checked, and the connection goes to the address that was checked. Nothing comes from the
environment, and no redirect is followed.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpcore

from app.control.problems import Invalid, Problem

#: Bytes of an answer; seconds to connect, to wait for bytes, and for the whole.
MAX_BYTES = 256 * 1024
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 5.0
TOTAL_TIMEOUT = 15.0

_MAX_ETAG = 256


def _networks(*written: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(one) for one in written]


#: A company's or a cluster's own (RFC 1918, RFC 6598, RFC 4193). Link-local addresses, those of clouds' metadata
#: services, are not among them.
_PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
#: Where the world's hosts are.
_UNICAST = _networks("0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3", "2000::/3")
#: Holds other addresses, or is for documents: a router may turn it into what is not allowed (RFC 3056, RFC 4380,
#: RFC 7526, RFC 9637).
_SPECIAL = _networks("2002::/16", "2001::/32", "192.88.99.0/24", "3fff::/20")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Unfetched(Problem):
    """The address did not give what was asked for."""

    status = 502


@dataclass(frozen=True)
class Answer:
    """What an address gave. `body` None: it is still what `etag` names."""

    body: bytes | None
    etag: str | None


@dataclass(frozen=True)
class Outbound:
    """What may be asked. By default https to public addresses."""

    #: https to private addresses (RFC 1918, RFC 4193): a cluster's own API server, a company's own issuer.
    private: bool = False
    #: Loopback, also by plain http: for development.
    loopback: bool = False

    def check(self, uri: str) -> None:
        """Fail unless such an address may be asked at all. Raises `Invalid`."""
        try:
            parts = urlsplit(uri)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise Invalid(f"{uri!r} is not an address") from error
        if not host or parts.username or parts.password or parts.fragment or not uri.isascii() or not uri.isprintable():
            raise Invalid(f"{uri!r} is not an address such as https://issuer.example.org/keys")
        here = parts.scheme == "http" and _is_local_name(host)
        if parts.scheme != "https" and not (here and self.loopback):
            hint = "; for development, placet server run --allow-loopback-issuers takes this machine's http"
            raise Invalid(f"{uri} must be https{hint if here else ''}")

    def get(self, uri: str, *, ca: str | None = None, etag: str | None = None) -> Answer:
        """GET, with `etag` only what changed. `ca` (PEM) alone vouches for the server. Raises `Problem`."""
        self.check(uri)
        headers = [("Host", urlsplit(uri).netloc), ("Accept", "application/json"), ("Accept-Encoding", "identity")]
        headers += [("User-Agent", "placet")] + ([("If-None-Match", etag)] if etag else [])
        backend = _Checked(self)
        timeout = {"connect": CONNECT_TIMEOUT, "read": READ_TIMEOUT, "write": READ_TIMEOUT, "pool": CONNECT_TIMEOUT}
        try:
            with (
                backend.bounded(),
                httpcore.ConnectionPool(ssl_context=_context(ca), network_backend=backend) as pool,
                pool.stream("GET", uri, headers=headers, extensions={"timeout": timeout}) as response,
            ):
                return _read(uri, response, etag)
        except (httpcore.TimeoutException, TimeoutError) as error:
            raise Unfetched(f"{uri} did not answer in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError, ValueError) as error:
            raise Unfetched(f"{uri} cannot be fetched: {_line(error)}") from error

    def permits(self, address: Address) -> bool:
        """Whether this address of a name may be connected to."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if address.is_loopback:
            return self.loopback
        if _lies_in(address, _PRIVATE):
            return self.private
        return address.is_global and _lies_in(address, _UNICAST) and not _lies_in(address, _SPECIAL)


class _Checked(httpcore.NetworkBackend):
    """Connects to the first address of a name, if all of them are allowed."""

    def __init__(self, rules: Outbound) -> None:
        self._rules = rules
        self._inner = httpcore.SyncBackend()
        self._connections: list[socket.socket] = []
        self._over = threading.Event()

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """End every connection after `TOTAL_TIMEOUT`: timeouts count from byte to byte, and bytes can drip."""
        timer = threading.Timer(TOTAL_TIMEOUT, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            for connection in self._connections:
                connection.close()

    def _require_time(self) -> None:
        if self._over.is_set():
            raise TimeoutError

    def _cut(self) -> None:
        self._over.set()
        for connection in self._connections:
            with suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """As the backend of httpcore, to an address instead of a name."""
        found = {info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        addresses = [ipaddress.ip_address(str(text).partition("%")[0]) for text in sorted(map(str, found))]
        if refused := [one for one in addresses if not self._rules.permits(one)]:
            raise OSError(f"{host} is at {refused[0]}, a private or loopback address, which this server may not ask")
        error: Exception = OSError(f"{host} has no address")
        for address in addresses:
            self._require_time()
            try:
                stream = self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                error = failure
                continue
            # A duplicate, since TLS takes the socket itself over.
            self._connections.append(stream.get_extra_info("socket").dup())
            self._require_time()  # the timer cuts what was there before; this, what came after
            return stream
        raise error


def _read(uri: str, response: httpcore.Response, etag: str | None) -> Answer:
    headers = {name.lower(): value for name, value in response.headers}
    if response.status == 304 and etag:
        return Answer(None, etag)
    if response.status != 200:
        hint = "; redirects are not followed" if 300 <= response.status < 400 else ""
        raise Unfetched(f"{uri} answered with status {response.status}{hint}")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Unfetched(f"{uri} answered with a content encoding that was not asked for")
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise Unfetched(f"{uri} answered with more than {MAX_BYTES} bytes")
    tag = headers.get(b"etag", b"").decode("latin-1")
    return Answer(bytes(body), tag if tag.isprintable() and tag.isascii() and 0 < len(tag) <= _MAX_ETAG else None)


def _context(ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca) if ca else ssl.create_default_context(cafile=certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _lies_in(address: Address, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _is_local_name(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
