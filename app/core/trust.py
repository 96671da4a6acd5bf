"""The Sigstore instance that is trusted: a ClientTrustConfig, and what the verifier reads out of it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.x509 import Certificate, load_der_x509_certificate
from pydantic import ValidationError
from sigstore._internal.trust import Key
from sigstore.errors import Error as SigstoreError
from sigstore.models import ClientTrustConfig, SigningConfig
from sigstore.verify import Verifier

from app.core import strict_json
from app.core.complaint import complaint, printable
from app.core.errors import PlacetError, UsageError
from app.core.files import read_bounded

_MAX_CONFIG = 1024 * 1024
#: A ClientTrustConfig that names nobody to ask for signatures.
_NO_SIGNING = {
    "mediaType": ClientTrustConfig.ClientTrustConfigType.CONFIG_0_1.value,
    "signingConfig": {"mediaType": SigningConfig.SigningConfigType.SIGNING_CONFIG_0_2.value},
}


@dataclass(frozen=True)
class Window:
    """The time for which a key or an authority is trusted, both ends included."""

    start: datetime | None
    end: datetime | None

    def covers(self, at: datetime) -> bool:
        """Whether `at` lies inside."""
        return (self.start is None or self.start <= at) and (self.end is None or at <= self.end)


@dataclass(frozen=True)
class Log:
    """A transparency log of the trusted root."""

    host: str
    valid: Window
    #: Of its key: a signed note names the first four bytes.
    key_id: bytes
    _key: Any

    def signed(self, signature: bytes, data: bytes) -> bool:
        """Whether the log's key signed `data`."""
        try:
            self._key.verify(signature, data)
        except (InvalidSignature, SigstoreError):
            return False
        return True


class TrustConfig:
    """One Sigstore instance: whom to ask for signatures, and which keys vouch for them."""

    def __init__(self, config: ClientTrustConfig) -> None:
        self.config = config

    @classmethod
    def from_file(cls, path: Path, *, root_alone: bool = False) -> TrustConfig:
        """Read a ClientTrustConfig (`application/vnd.dev.sigstore.clienttrustconfig.v0.1+json`).

        With `root_alone` the file may be the trusted root in it: all that verifying needs; nothing can be signed.
        """
        raw = read_bounded(path, _MAX_CONFIG, "the trust config")
        try:
            document = strict_json.load_object(raw)
            if root_alone and "trustedRoot" not in document:
                raw = json.dumps({**_NO_SIGNING, "trustedRoot": document}).encode()
            trust = cls(ClientTrustConfig.from_json(raw.decode()))
            trust.verifier  # noqa: B018 - built now, so that a bad file is refused here and not at the first release
        except (SigstoreError, ValueError) as error:
            said = complaint(error) if isinstance(error, ValidationError) else printable(str(error))[:300]
            form = "ClientTrustConfig" + (" or trusted root" if root_alone else "")
            raise UsageError(f"{path} is not a Sigstore {form}: {said}") from error
        return trust

    def document(self) -> bytes:
        """It as a file that `from_file` reads."""
        return self.config._inner.to_json().encode()

    @classmethod
    def production(cls) -> TrustConfig:
        """The public-good instance. Refreshes its root over the network."""
        return cls._public(staging=False)

    @classmethod
    def staging(cls) -> TrustConfig:
        """Sigstore's staging instance. Refreshes its root over the network."""
        return cls._public(staging=True)

    @classmethod
    def choose(cls, file: Path | None, *, staging: bool = False) -> TrustConfig:
        """What the options `--trust-config` and `--staging` mean; by default the public-good instance."""
        if file and staging:
            raise UsageError("give --trust-config or --staging, not both")
        return cls.from_file(file) if file else cls._public(staging=staging)

    @classmethod
    def _public(cls, *, staging: bool) -> TrustConfig:
        try:
            return cls(ClientTrustConfig.staging() if staging else ClientTrustConfig.production())
        except SigstoreError as error:
            raise PlacetError(
                f"cannot refresh the trust root of Sigstore's public instance: {error}; "
                "check the network, or name your own instance with --trust-config"
            ) from error

    @cached_property
    def verifier(self) -> Verifier:
        """sigstore-python's verifier for this instance."""
        return Verifier(trusted_root=self.config.trusted_root)

    # sigstore-python keeps the parts of a trusted root to itself, and checks the validity of the timestamp
    # authority alone. What follows reads the other validity windows, for the checks that are ours.

    @cached_property
    def _root(self) -> Any:
        return self.config.trusted_root._inner

    def log(self, key_id: bytes) -> Log | None:
        """The transparency log with this id; None when there is not exactly one."""
        if key_id not in self._asked:
            found = [log for log in self._root.tlogs if log.log_id.key_id == key_id]
            if len(found) != 1:
                return None
            self._asked[key_id] = _log(found[0])
        return self._asked[key_id]

    @cached_property
    def _asked(self) -> dict[bytes, Log]:
        return {}

    @cached_property
    def logs(self) -> tuple[Log, ...]:
        """The transparency logs, but for those whose key is of a kind that sigstore-python does not know."""
        found = []
        for log in self._root.tlogs:
            with suppress(SigstoreError):
                found.append(_log(log))
        return tuple(found)

    def ct_log(self, key_id: bytes) -> Window | None:
        """When the CT log with this id is trusted; None when there is not exactly one."""
        found = [log for log in self._root.ctlogs if log.log_id.key_id == key_id]
        return _window(found[0].public_key.valid_for) if len(found) == 1 else None

    def authorities_of(self, certificate: Certificate) -> list[Window]:
        """When each of the certificate authorities that issued `certificate` directly is trusted."""
        windows = []
        for authority, window in self._authorities:
            try:
                certificate.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                continue
            windows.append(window)
        return windows

    @cached_property
    def _authorities(self) -> list[tuple[Certificate, Window]]:
        return [
            (certificate, _window(authority.valid_for))
            for authority in self._root.certificate_authorities
            for link in authority.cert_chain.certificates
            if (certificate := _certificate(link.raw_bytes)) is not None
        ]


def _certificate(raw: bytes) -> Certificate | None:
    try:
        return load_der_x509_certificate(raw)
    except ValueError:
        return None


def _log(log: Any) -> Log:
    host = urlsplit(log.base_url).hostname or ""
    return Log(host, _window(log.public_key.valid_for), log.log_id.key_id, Key(log.public_key))


def _window(valid_for: Any) -> Window:
    return Window(None, None) if valid_for is None else Window(valid_for.start, valid_for.end)
