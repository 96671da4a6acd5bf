import ssl
import threading
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.sidecar.pki import SidecarCA


@pytest.fixture
def files(tmp_path):
    return tmp_path / "ca.key", tmp_path / "ca.pem"


@pytest.fixture
def ca(files):
    return SidecarCA.open(*files)


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def leaf(ca, tmp_path, kind, name):
    paths = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
    getattr(ca, f"{kind}_leaf")(*paths)
    return paths


def test_it_is_kept(files, ca):
    before = [path.read_bytes() for path in files]
    SidecarCA.open(*files)
    assert [path.read_bytes() for path in files] == before


def test_keys_are_private(files, ca, tmp_path):
    _, key = leaf(ca, tmp_path, "server", "opa")
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_crash_between_key_and_certificate_makes_both_anew(files, ca):
    key_file, certificate_file = files
    certificate_file.unlink()
    SidecarCA.open(*files)
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    assert certificate(certificate_file).public_key() == key.public_key()


def test_a_leaf_is_no_authority_and_has_one_use(ca, tmp_path, files):
    authority = certificate(files[1])
    for kind, use in (("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)):
        one = certificate(leaf(ca, tmp_path, kind, kind)[0])
        one.verify_directly_issued_by(authority)
        assert not one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert list(one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [use]
        assert one.not_valid_before_utc < datetime.now(UTC) < one.not_valid_after_utc
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)


def test_a_leaf_is_made_anew_each_time(ca, tmp_path):
    first = leaf(ca, tmp_path, "server", "a")[0].read_bytes()
    second = leaf(ca, tmp_path, "server", "a")[0].read_bytes()
    assert first != second
    assert certificate(tmp_path / "a.pem").serial_number


def handshake(server, client):
    """A TLS handshake in memory. Raises what either side raises."""
    import socket

    left, right = socket.socketpair()
    failed = []

    def serve():
        try:
            with server.wrap_socket(left, server_side=True) as tls:
                tls.recv(1)
        except (ssl.SSLError, OSError) as error:
            failed.append(error)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        with client.wrap_socket(right, server_hostname="127.0.0.1") as tls:
            tls.send(b"x")
    finally:
        thread.join(5)
    if failed:
        raise failed[0]


def contexts(ca_file, server_pair, client_pair):
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca_file)
    server.load_cert_chain(*server_pair)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file)
    if client_pair:
        client.load_cert_chain(*client_pair)
    return server, client


def test_both_ends_know_each_other(ca, files, tmp_path):
    handshake(*contexts(files[1], leaf(ca, tmp_path, "server", "s"), leaf(ca, tmp_path, "client", "c")))


def test_nobody_else_is_let_in(ca, files, tmp_path):
    server_pair, client_pair = leaf(ca, tmp_path, "server", "s"), leaf(ca, tmp_path, "client", "c")
    other = SidecarCA.open(tmp_path / "other.key", tmp_path / "other.pem")
    foreign_server, foreign_client = leaf(other, tmp_path, "server", "fs"), leaf(other, tmp_path, "client", "fc")
    for pair in (
        contexts(files[1], server_pair, None),  # no certificate
        contexts(files[1], server_pair, foreign_client),  # another sidecar's
        contexts(files[1], foreign_server, client_pair),  # another sidecar's server
        contexts(files[1], server_pair, server_pair),  # a server's certificate in a client's hand
        contexts(files[1], client_pair, client_pair),  # and the reverse
    ):
        with pytest.raises((ssl.SSLError, OSError)):
            handshake(*pair)
