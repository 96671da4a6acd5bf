"""Warrants signed by a key that lies in AWS KMS: boto3, and a server of its API that keeps private keys (local-kms)."""

import os
import socket
import subprocess
import time

import boto3
import pytest

from app.control.key_store import KeyStore
from app.control.problems import Unavailable
from app.core.errors import PlacetError
from app.local import tools
from app.local.ports import free_port

from .key_service_kit import (
    opened,
    require_command_signs,
    require_es256_without_file,
    require_opa_takes,
    require_rotation_without_a_gap,
    sign,
)


class Kms:
    """The server, and its client as the environment describes it."""

    def __init__(self, directory):
        self._directory, self._port = directory, free_port()
        self._binary = tools.install(["local-kms"])["local-kms"]
        self.variables = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "a secret of the environment",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{self._port}",
            "AWS_MAX_ATTEMPTS": "1",
        }
        self.start()

    def start(self):
        environment = {"PORT": str(self._port), "KMS_DATA_PATH": str(self._directory), "KMS_REGION": "eu-central-1"}
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen([self._binary], env=environment, stdout=log, stderr=log)
        until = time.monotonic() + 30
        while True:
            assert self._process.poll() is None, (self._directory / "log").read_text()
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < until, "it does not listen"
                time.sleep(0.05)

    def stop(self):
        self._process.kill()
        self._process.wait()

    def key(self, spec="ECC_NIST_P256", usage="SIGN_VERIFY"):
        return boto3.client("kms").create_key(KeyUsage=usage, KeySpec=spec)["KeyMetadata"]["KeyId"]


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    running = Kms(tmp_path_factory.mktemp("kms"))
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        for name, value in running.variables.items():
            environment.setenv(name, value)
        yield running
    running.stop()


@pytest.fixture
def plane(kms, tmp_path):
    made = opened(tmp_path, warrant_key=f"awskms:{kms.key()}")
    yield made
    made.close()


def test_a_warrant_is_signed_by_the_service_and_opa_takes_it(plane, opa_binary, tmp_path):
    token = sign(plane)
    require_opa_takes(token, require_es256_without_file(plane, token), opa_binary, tmp_path)


def test_a_file_key_is_rotated_into_the_service_and_within_it_without_a_gap(kms, tmp_path):
    require_rotation_without_a_gap(tmp_path, [f"awskms:{kms.key()}" for _ in range(2)])


def test_a_key_that_does_not_serve_is_one_clear_line(kms, tmp_path):
    for uri in (
        "awskms:11111111-2222-3333-4444-555555555555",
        f"awskms:{kms.key('ECC_NIST_P384')}",
        f"awskms:{kms.key('RSA_2048')}",
        f"awskms:{kms.key('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT')}",
        "awskms:",
    ):
        with pytest.raises(PlacetError) as caught:
            KeyStore(tmp_path).adopt(uri)
        assert "\n" not in str(caught.value), uri
        assert kms.variables["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_a_service_that_does_not_answer_signs_nothing_and_then_again(plane, kms):
    assert sign(plane)
    kms.stop()
    with pytest.raises(Unavailable) as caught:
        sign(plane)
    assert "\n" not in str(caught.value)
    kms.start()
    assert sign(plane)


def test_the_command_makes_a_control_plane_that_signs_with_the_service(kms, tmp_path):
    require_command_signs(tmp_path, f"awskms:{kms.key()}")
