"""Private keys by URI: a file, a PKCS#11 token, or a cloud's key service, all through securesystemslib's signers.

`file:NAME.pem`, relative to the server's own keys, or an absolute path: Ed25519 or P-256, PEM, for its owner alone.
`hsm:KEYID?label=TOKEN`: PKCS#11; the module's path is in PYKCS11LIB, the PIN in PLACET_PKCS11_PIN_FILE or
PLACET_PKCS11_PIN. `awskms:…`, `gcpkms:…`, `azurekms://…`: credentials as the service's own library finds them.
Keys outside of files are P-256 and never leave their place.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from jwt.utils import der_to_raw_signature
from securesystemslib.signer import AWSSigner, AzureSigner, GCPSigner, HSMSigner, Key, Signer, SSlibKey

from app.control import signing_keys
from app.core import jwk as public_keys
from app.core.errors import PlacetError, UsageError
from app.core.files import read_secret, write_atomically
from app.core.holder_keys import thumbprint

#: The environment's names for the PIN of a PKCS#11 token.
PIN, PIN_FILE = "PLACET_PKCS11_PIN", "PLACET_PKCS11_PIN_FILE"

_P256 = "ecdsa-sha2-nistp256"
_MAX_PIN = 256


class KeyStore:
    """Makes, adopts and uses private keys. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._signers: dict[str, Signer] = {}
        #: A PKCS#11 token knows one login a process, so those who use it wait for each other.
        self._login = threading.Lock()

    def create(self, purpose: str, *, p256: bool = False) -> tuple[str, dict[str, str]]:
        """A new key in a file of its own, Ed25519 or P-256: its URI and its public JWK."""
        signer, pem = signing_keys.generate_p256() if p256 else signing_keys.generate()
        jwk = _public_jwk(signer.public_key)
        name = f"{purpose}-{jwk['kid']}.pem"
        write_atomically(self._directory / name, pem, mode=0o600)
        return f"file:{name}", jwk

    def adopt(self, uri: str) -> tuple[str, dict[str, str]]:
        """A key that is there already: its full URI and its public JWK, after it signed once. Raises `UsageError`."""
        scheme = uri.partition(":")[0]
        if scheme not in {"file", *_IMPORTS}:
            raise UsageError(
                f"{uri!r} names no key: file:PATH, hsm:KEYID?label=TOKEN, awskms:…, gcpkms:… or azurekms://…"
            )
        with self._alone(uri), _one_line(uri):
            full, key = _IMPORTS[scheme](uri) if scheme in _IMPORTS else (uri, self._load(uri).public_key)
            jwk = _public_jwk(key)
        self.sign(full, jwk, b"placet")
        return full, jwk

    def sign(self, uri: str, jwk: dict[str, str], payload: bytes) -> bytes:
        """The JWS signature (RFC 7518, RFC 8037) over `payload`, verified. Raises `PlacetError`."""
        with self._alone(uri), _one_line(uri):
            signer = self._signers.get(jwk["kid"]) or self._open(uri, jwk)
            self._signers[jwk["kid"]] = signer
            signature = bytes.fromhex(signer.sign(payload).signature)
            key = jwt.PyJWK(jwk)
            if isinstance(key.key, EllipticCurvePublicKey):
                signature = der_to_raw_signature(signature, key.key.curve)
            if not key.Algorithm.verify(payload, key.key, signature):
                raise PlacetError(f"the key at {uri} is not the one that was announced as {jwk['kid']}")
        return signature

    def _alone(self, uri: str) -> AbstractContextManager[object]:
        return self._login if uri.startswith("hsm:") else nullcontext()

    def _open(self, uri: str, jwk: dict[str, str]) -> Signer:
        if uri.startswith("file:"):
            return self._load(uri)
        key = SSlibKey.from_crypto(jwt.PyJWK(jwk).key, scheme=_P256)
        return Signer.from_priv_key_uri(uri, key, _pin)

    def _load(self, uri: str) -> Signer:
        return signing_keys.load(self._directory / uri.removeprefix("file:"), p256=True)


@contextmanager
def _one_line(uri: str) -> Iterator[None]:
    """Whatever a key service says becomes one line, without what was signed and without the PIN."""
    try:
        yield
    except PlacetError:
        raise
    except Exception as error:  # each service has its own classes of errors
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise PlacetError(f"the key {uri} cannot be used: {said}") from error


def _pin(_: str) -> str:
    if file := os.environ.get(PIN_FILE):
        return read_secret(Path(file), _MAX_PIN, "the PIN file").decode("utf-8", "replace").strip()
    pin = os.environ.get(PIN, "")
    if not pin:
        raise PlacetError(f"the PKCS#11 token needs its PIN: set {PIN_FILE} to a file that holds it")
    return pin


def _import_hsm(uri: str) -> tuple[str, Key]:
    parts = urlsplit(uri)
    if parts.path and not (parts.path.isascii() and parts.path.isdigit()):
        raise UsageError(f"{uri!r} names no key: in hsm:KEYID?label=TOKEN, KEYID is its number in the token, such as 2")
    label = parse_qs(parts.query).get("label", [None])[0]
    return HSMSigner.import_(int(parts.path) if parts.path else None, label, _pin)


def _import_azure(uri: str) -> tuple[str, Key]:
    parts, path = urlsplit(uri), uri.removeprefix("azurekms://").rstrip("/").split("/")
    if len(path) not in (3, 4) or path[1] != "keys" or not all(path):
        raise UsageError(f"{uri!r} names no key: it is azurekms://VAULT.vault.azure.net/keys/NAME/VERSION")
    full, key = AzureSigner.import_((parts.hostname or "").removesuffix(".vault.azure.net"), path[2])
    if not f"{full}/".startswith(f"{uri.rstrip('/')}/"):
        raise UsageError(f"the service gives the newest version of this key, {full}: name that one, or none")
    return full, key


#: How the public half of a key is fetched, by the scheme of its URI.
_IMPORTS: dict[str, Callable[[str], tuple[str, Key]]] = {
    "hsm": _import_hsm,
    "awskms": lambda uri: AWSSigner.import_(uri.removeprefix("awskms:"), _P256),
    "gcpkms": lambda uri: GCPSigner.import_(uri.removeprefix("gcpkms:")),
    "azurekms": _import_azure,
}


def _public_jwk(key: Key) -> dict[str, str]:
    """The vetted JWK, with its RFC 7638 thumbprint as `kid`."""
    if key.scheme == "ed25519":
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
        jwk = OKPAlgorithm.to_jwk(public, as_dict=True)
    elif key.scheme == _P256:
        loaded = load_pem_public_key(key.keyval["public"].encode())
        assert isinstance(loaded, EllipticCurvePublicKey)
        jwk = ECAlgorithm.to_jwk(loaded, as_dict=True)
    else:
        raise PlacetError(f"a key of the scheme {key.scheme} is not used here: Ed25519 or P-256")
    return dict(public_keys.vet(thumbprint(jwk), jwk).jwk)
