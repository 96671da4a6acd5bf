"""Warrants signed by a key that never leaves its PKCS#11 token: SoftHSM2, which behaves like a hardware module."""

import secrets
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jwt
import pkcs11
import pytest
from pkcs11.util.ec import encode_named_curve_parameters

from app.control.key_store import PIN, PIN_FILE, KeyStore
from app.control.problems import Unavailable
from app.core.errors import PlacetError
from app.core.warrants import TYPE
from tests.last_words import last_words

from .key_service_kit import (
    CLAIMS,
    opened,
    require_command_signs,
    require_es256_without_file,
    require_opa_takes,
    require_rotation_without_a_gap,
    sign,
)

TOKEN = "placet test"
URI = "hsm:7?label=placet+test"
#: Where distributions put the module.
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)


def module():
    found = next((path for path in MODULES if Path(path).exists()), None)
    if found is None or shutil.which("softhsm2-util") is None:
        pytest.fail("SoftHSM2 is not installed: install the system's package softhsm2 (.ci/run does)")
    return found


@pytest.fixture(scope="module")
def pin():
    return secrets.token_hex(8)


@pytest.fixture(scope="module")
def hsm(tmp_path_factory, pin):
    """A token with two P-256 keys (7 and 8), one P-384 (9); the environment names the module and the PIN's file."""
    directory = tmp_path_factory.mktemp("hsm")
    (directory / "tokens").mkdir()
    (directory / "softhsm2.conf").write_text(f"directories.tokendir = {directory / 'tokens'}\n")
    (directory / "pin").write_text(pin + "\n")
    (directory / "pin").chmod(0o600)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOFTHSM2_CONF", str(directory / "softhsm2.conf"))
        environment.setenv("PYKCS11LIB", module())
        environment.setenv(PIN_FILE, str(directory / "pin"))
        environment.delenv(PIN, raising=False)
        command = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--pin", pin, "--so-pin", pin]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        token = pkcs11.lib(module()).get_token(token_label=TOKEN)
        with token.open(user_pin=pin, rw=True) as session:
            for number, curve in ((7, "secp256r1"), (8, "secp256r1"), (9, "secp384r1")):
                parameters = session.create_domain_parameters(
                    pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True
                )
                parameters.generate_keypair(store=True, id=bytes([number]), label=f"key {number}")
        yield directory


@pytest.fixture
def plane(hsm, tmp_path):
    made = opened(tmp_path, warrant_key=URI)
    yield made
    made.close()


def test_a_warrant_is_signed_in_the_token_and_opa_takes_it(plane, hsm, opa_binary, tmp_path):
    token = sign(plane)
    jwk = require_es256_without_file(plane, token)
    require_opa_takes(token, jwk, opa_binary, tmp_path)
    pem = (hsm / "tokens").rglob("*.object")
    assert list(pem), "it lies in the token"


def test_a_file_key_is_rotated_into_the_token_and_within_it_without_a_gap(hsm, tmp_path):
    require_rotation_without_a_gap(tmp_path, [URI, "hsm:8?label=placet+test"])


def test_many_threads_sign_at_once(plane):
    """A process has one login at a token: those who sign wait for each other."""
    with plane.store.write() as session:
        from app.control.keyring import reserve

        key = reserve(session, "warrant", CLAIMS["exp"])
    tokens, failures = [], []

    def work():
        try:
            tokens.extend(plane.keyring.jwt(key, CLAIMS, TYPE) for _ in range(5))
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(tokens)) == 30
    for token in tokens:
        assert jwt.decode(token, jwt.PyJWK(key.jwk), algorithms=["ES256"]) == CLAIMS


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("hsm:6?label=placet+test", "could not find"),
        ("hsm:9?label=placet+test", "ecdsa-sha2-nistp384"),
        ("hsm:7?label=another", "No PKCS#11 token"),
        ("hsm:seven", "names no key"),
    ],
)
def test_a_key_that_does_not_serve_is_one_clear_line(hsm, tmp_path, uri, said):
    with pytest.raises(PlacetError, match=said) as caught:
        KeyStore(tmp_path).adopt(uri)
    assert "\n" not in str(caught.value)


def test_a_wrong_pin_signs_nothing_and_no_pin_is_ever_shown(plane, hsm, pin, monkeypatch, tmp_path, caplog):
    caplog.set_level("DEBUG")
    (tmp_path / "wrong").write_text("wrong-pin")
    monkeypatch.setenv(PIN_FILE, str(tmp_path / "wrong"))
    with pytest.raises(Unavailable, match="PinIncorrect") as caught:
        sign(plane)
    assert "wrong-pin" not in str(caught.value)
    monkeypatch.delenv(PIN_FILE)
    with pytest.raises(Unavailable, match=PIN_FILE):
        sign(plane)
    monkeypatch.setenv(PIN, pin)
    assert sign(plane), "the variable serves where a file cannot"
    database = (plane.settings.directory / "placet.db").read_bytes()
    wal = plane.settings.directory / "placet.db-wal"
    database += wal.read_bytes() if wal.exists() else b""
    assert pin.encode() not in database
    assert pin not in caplog.text


def test_the_command_makes_a_control_plane_that_signs_with_the_token(hsm, tmp_path):
    require_command_signs(tmp_path, URI)
    placet = str(Path(sys.executable).with_name("placet"))
    command = [placet, "server", "init", "--dir", str(tmp_path / "other"), "--warrant-key", "hsm:6?label=placet+test"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, last_words(done.stderr).count("\n")) == (1, 1), done.stderr
    assert not (tmp_path / "other").exists()
