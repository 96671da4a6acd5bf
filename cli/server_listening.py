"""Where the control plane listens, whether with TLS, and by which proxies its callers come."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from app.core import loopback
from app.core.errors import PlacetError, UsageError
from app.core.files import warn_if_open

#: The shortest prefixes of a network of one's own (RFC 1918, RFC 4193), by the version of IP.
_WIDEST = {4: 8, 6: 7}

TrustedProxyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-proxy",
        metavar="ADDRESS",
        help="A reverse proxy before this server, by its address or network: of what it forwards, the caller is who "
        "its X-Forwarded-For says. May be given again. Default: none, and no header says who calls.",
        show_default=False,
    ),
]


def check_tls(host: str, certificate: Path | None, key: Path | None) -> bool:
    """Whether TLS is used; refuse combinations that would show tokens to the network."""
    if (certificate is None) != (key is None):
        raise UsageError("give both --tls-cert and --tls-key")
    if certificate is None or key is None:
        if host not in loopback.NAMES:
            raise UsageError(f"listening on {host} needs --tls-cert and --tls-key: tokens would cross the network bare")
        return False
    warn_if_open(key, "the key of --tls-key")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise UsageError(f"{certificate} and {key} are not a certificate and its key in PEM") from error
    except OSError as error:
        raise UsageError(f"cannot read {certificate} or {key}: {error.strerror}") from error
    return True


def trusted_proxies(given: Sequence[str] | None) -> list[str]:
    """The proxies that say who calls. Not everybody: then whoever calls could say that it is somebody else."""
    found = []
    for one in given or ():
        try:
            network = ipaddress.ip_network(one)
        except ValueError as error:
            raise UsageError(
                f"--trusted-proxy {one}: give an address or a network, such as 10.0.0.7 or 10.0.0.0/24"
            ) from error
        if network.prefixlen < _WIDEST[network.version]:
            raise UsageError(f"--trusted-proxy {one} is nearly everybody, and whoever is there could say who calls")
        found.append(str(network) if "/" in one else one)
    return found


def bind(host: str, port: int) -> socket.socket:
    """Take the port now, so that a taken one is one clear line before anything starts."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except socket.gaierror as error:
        raise UsageError(f"{host} is not an address of this machine") from error
    except OSError as error:
        raise PlacetError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
