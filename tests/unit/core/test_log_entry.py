import json

import pytest

from app.core import strict_json
from app.core.log_entry import EntryReader, LogEntry

from .log_kit import Authority, Signer, sha256

SIDECAR = "spiffe://example.org/sidecar/payments/a"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def reader(authority):
    return EntryReader(authority.trust)


def test_who_signed_what(authority, reader):
    body = Signer(authority, SIDECAR).entry("statement")
    assert reader.read(body) == LogEntry(sha256(b"statement").hexdigest(), SIDECAR)


def test_a_certificate_of_its_own_making_proves_nothing(authority, reader):
    assert reader.read(Signer(authority, SIDECAR, own_ca=True).entry("statement")) is None


def test_a_signature_of_something_else_proves_nothing(authority, reader):
    assert reader.read(Signer(authority, SIDECAR).entry("statement", signed="another")) is None


def test_people_are_no_sidecars(authority, reader):
    assert reader.read(Signer(authority, "dev@example.org").entry("statement")) is None


def test_other_kinds_and_algorithms(authority, reader):
    assert reader.read(Signer(authority, SIDECAR).entry("statement", kind="dsse")) is None
    assert reader.read(Signer(authority, SIDECAR, digest="SHA2_384").entry("statement")) is None


def test_what_is_no_entry_at_all(authority, reader):
    body = Signer(authority, SIDECAR).entry("statement")
    document = json.loads(body)
    for raw in (b"", b"\xff", b"[]", b"{}", body[:-1], body + body, b'{"kind":1,"kind":2}'):
        assert reader.read(raw) is None
    record = document["spec"]["hashedRekordV002"]
    for part, value in (("data", None), ("data", []), ("signature", {}), ("signature", {"content": 7})):
        document["spec"]["hashedRekordV002"] = {**record, part: value}
        assert reader.read(strict_json.canonical(document)) is None
    for certificate in ("", "AAAA", "!", 5):
        verifier = {"x509Certificate": {"rawBytes": certificate}}
        document["spec"]["hashedRekordV002"] = {**record, "signature": {**record["signature"], "verifier": verifier}}
        assert reader.read(strict_json.canonical(document)) is None
