import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.core.errors import PlacetError
from app.local.sigstore import keys


@pytest.fixture
def made(tmp_path):
    return keys.load_or_create(tmp_path / "keys")


def contents(made):
    return {path.name: path.read_bytes() for path in made.directory.iterdir()}


def test_are_made_once(made):
    before = contents(made)
    assert contents(keys.load_or_create(made.directory)) == before


def test_nobody_else_can_read_them(made):
    assert made.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in made.directory.iterdir()} == {0o600}


def test_a_directory_that_others_can_read_is_refused(made):
    made.directory.chmod(0o750)
    with pytest.raises(PlacetError, match="chmod"):
        keys.load(made.directory)


def test_a_missing_file_is_named_and_not_made_anew(made):
    made.rekor_key.unlink()
    with pytest.raises(PlacetError, match=r"rekor\.key\.pem is missing"):
        keys.load_or_create(made.directory)


def test_no_directory_says_what_to_run(tmp_path):
    with pytest.raises(PlacetError, match="placet sigstore up"):
        keys.load(tmp_path / "keys")


def test_an_interrupted_creation_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(keys, "_timestamping", interrupted)
    with pytest.raises(KeyboardInterrupt):
        keys.load_or_create(tmp_path / "keys")
    assert list(tmp_path.iterdir()) == []


def test_the_ca_may_sign_certificates_and_its_key_is_encrypted(made):
    certificate = x509.load_pem_x509_certificate(made.ca_certificate.read_bytes())
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    with pytest.raises(TypeError, match="encrypted"):
        serialization.load_pem_private_key(made.ca_key.read_bytes(), password=None)
    key = serialization.load_pem_private_key(made.ca_key.read_bytes(), made.ca_password.read_bytes())
    assert key.public_key() == certificate.public_key()


def test_the_timestamp_chain_is_what_rfc_3161_wants(made):
    leaf, root = x509.load_pem_x509_certificates(made.tsa_chain.read_bytes())
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert usage.critical
    assert list(usage.value) == [ExtendedKeyUsageOID.TIME_STAMPING]
    leaf.verify_directly_issued_by(root)
    assert leaf.public_key() == keys.public_key(made.tsa_key)


def test_validity_starts_in_the_past(made):
    now = datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(minutes=4) < now - made.valid_from < datetime.timedelta(minutes=6)
