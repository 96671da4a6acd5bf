"""Where a sidecar listens, and by what it is known: TLS from a pinned CA, or a unix socket in a guarded directory."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from placet_sdk.errors import ConfigurationError

_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Address:
    """A listener. `url` has no path."""

    url: str
    #: The path of the unix socket, if it is one.
    socket: str | None = None
    #: What a TLS server must show; None without TLS.
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, url: str, ca: str | Path | None, insecure_loopback: bool) -> Address:
        """Read `https://HOST:PORT`, `unix:///PATH` or, where it was asked for, `http://127.0.0.1:PORT`.

        Raises ConfigurationError.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"{url!r} is no address: {error}") from error
        if parts.scheme == "unix":
            if parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
                raise ConfigurationError(f"{url!r}: a unix socket is named as unix:///path/of/it.sock")
            return cls("http://placet", socket=parts.path)
        if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
            raise ConfigurationError(f"{url!r} is neither https://HOST:PORT nor unix:///PATH")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ConfigurationError(f"{url!r}: give the address alone, without path or parameters")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        origin = f"{parts.scheme}://{host}:{_PORTS[parts.scheme] if port is None else port}"
        if parts.scheme == "https":
            return cls(origin, tls=pinned(ca))
        if not insecure_loopback or not _is_loopback(parts.hostname):
            raise ConfigurationError(
                f"{url!r}: without TLS any process may answer in the sidecar's place; "
                "use https:// with ca=, or unix:// (insecure_loopback=True allows http://127.0.0.1 in tests)"
            )
        return cls(origin)


def pinned(ca: str | Path | None) -> ssl.SSLContext:
    """TLS that trusts the certificates in this PEM file and nothing else. Raises ConfigurationError.

    Not `ssl.create_default_context`: that one writes session keys to the file that SSLKEYLOGFILE names.
    """
    if ca is None:
        raise ConfigurationError("ca= must name the sidecar's ca.pem: nothing else is trusted")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=str(ca))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{ca} holds no CA certificate that can be read: {error}") from error
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: somebody else says where it leads
