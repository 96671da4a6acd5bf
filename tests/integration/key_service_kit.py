"""A control plane whose warrants are signed by a key of another service: what is the same, whichever that is."""

import json
import subprocess
import sys
from pathlib import Path

import jwt

from app.control.installation import initialise
from app.control.keyring import Keyring
from app.control.plane import Plane
from app.control.settings import Settings
from app.core.warrants import TYPE

CLAIMS = {"iss": "spiffe://placet.internal/control-plane", "exp": 4_000_000_000, "jti": "w-1"}


def opened(directory, **options):
    """A control plane in a new directory."""
    made = initialise(directory / "control", directory / "root-key.pem", **options)
    return Plane.open(Settings.load(made.directory), None)


def sign(plane):
    with plane.store.write() as session:
        return plane.keyring.sign(session, "warrant", CLAIMS, TYPE)


def published(plane):
    with plane.store.read() as session:
        return Keyring.published(session, "warrant")


def require_es256_without_file(plane, token):
    """The token is one of ES256, and its private key lies in no file; gives its public one."""
    header = jwt.get_unverified_header(token)
    jwk = published(plane)[header["kid"]]
    assert (header["alg"], jwk["kty"], jwk["crv"]) == ("ES256", "EC", "P-256")
    assert len(jwt.utils.base64url_decode(token.split(".")[2])) == 64, "r and s, not DER"
    assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=["ES256"]) == CLAIMS
    assert not list((plane.settings.directory / "keys").glob("warrant-*")), "no private key in a file"
    return jwk


def require_opa_takes(token, jwk, opa_binary, directory):
    """The library's own builtin, with the key set as it stands in trust state."""
    (directory / "input.json").write_text(json.dumps({"token": token, "jwks": json.dumps({"keys": [jwk]})}))
    query = 'io.jwt.decode_verify(input.token, {"cert": input.jwks, "alg": "ES256", "time": 1})'
    command = [str(opa_binary), "eval", "--format", "raw", "--input", str(directory / "input.json"), query]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    valid, _, claims = json.loads(done.stdout)
    assert (valid, claims) == (True, CLAIMS)


def require_rotation_without_a_gap(directory, uris):
    """From a file to the first key, and from that to the second."""
    plane = opened(directory)
    tokens = [sign(plane)]
    for uri in uris:
        with plane.publishing() as session:
            plane.keyring.rotate(session, "warrant", by="test", lead_seconds=0, uri=uri)
        tokens.append(sign(plane))
    keys = published(plane)
    assert [jwt.get_unverified_header(token)["alg"] for token in tokens] == ["EdDSA", "ES256", "ES256"]
    assert len(keys) == 3
    for token in tokens:
        header = jwt.get_unverified_header(token)
        assert jwt.decode(token, jwt.PyJWK(keys[header["kid"]]), algorithms=[header["alg"]]) == CLAIMS
    plane.close()


def require_command_signs(directory, uri):
    """`placet server init --warrant-key`, as people type it; the environment is this process's."""
    placet = str(Path(sys.executable).with_name("placet"))
    command = [placet, "server", "init", "--dir", str(directory / "control"), "--warrant-key", uri, "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    made = Plane.open(Settings.load(directory / "control"), None)
    assert jwt.get_unverified_header(sign(made))["alg"] == "ES256"
    made.close()
