"""The ports of the local stack: kept beside its keys, because its trust config and old certificates name them."""

from __future__ import annotations

import dataclasses
import socket
from dataclasses import dataclass
from pathlib import Path

from app.core import strict_json
from app.core.errors import PlacetError, UsageError
from app.core.files import write_atomically
from app.local.ports import LOOPBACK, free_ports

_FILE = "ports.json"


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1. The defaults lie below the range from which systems hand out ports by themselves."""

    issuer: int = 7560
    fulcio: int = 7561
    ct_log: int = 7562
    tsa: int = 7563
    rekor: int = 7564
    tiles: int = 7565

    def __post_init__(self) -> None:
        values = dataclasses.astuple(self)
        for port in values:
            if type(port) is not int or not 1 <= port <= 65535:
                raise UsageError(f"{port} is no port: give a number from 1 to 65535")
            if values.count(port) > 1:
                raise UsageError(f"two services cannot share port {port}: give each its own")

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody uses."""
        return cls(*free_ports(len(dataclasses.fields(cls))))

    @classmethod
    def kept_in(cls, directory: Path) -> Ports | None:
        """The ports used before in `directory`, or None. Raises `PlacetError` when the file is damaged."""
        path = directory / _FILE
        try:
            return cls(**strict_json.load_object(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (strict_json.StrictJSONError, TypeError, UsageError) as error:
            raise PlacetError(f"{path} is damaged ({error}); remove it to choose ports anew") from error

    def keep_in(self, directory: Path) -> None:
        """Keep the ports in `directory`."""
        write_atomically(directory / _FILE, strict_json.canonical(dataclasses.asdict(self)))

    def check_free(self) -> None:
        """Raise `PlacetError` that names the first port which is in use, and the option that changes it."""
        for service, port in dataclasses.asdict(self).items():
            bind(port, service).close()


def bind(port: int, service: str) -> socket.socket:
    """A socket bound to `port`. Raises `PlacetError` when the port is in use or not ours to take."""
    listener = socket.socket()
    try:
        # Without it a port stays taken for a minute after its last user; a listener still keeps us out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        option = f"--{service.replace('_', '-')}-port"
        raise PlacetError(f"port {port} cannot be used ({error.strerror}); choose another with {option}") from error
    return listener
