import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives import serialization
from sigstore.models import ClientTrustConfig

from app.local.sigstore import keys
from app.local.sigstore.trust_config import trust_config

URLS = {
    "issuer": "http://127.0.0.1:1",
    "fulcio": "http://127.0.0.1:2",
    "ct_log": "http://127.0.0.1:3/placet",
    "tsa": "http://127.0.0.1:4",
    "rekor": "http://127.0.0.1:5",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return keys.load_or_create(tmp_path_factory.mktemp("trust") / "keys")


@pytest.fixture(scope="module")
def document(made):
    return json.loads(trust_config(made, **URLS))


def test_sigstore_python_reads_all_of_it(made):
    config = ClientTrustConfig.from_json(trust_config(made, **URLS).decode())
    assert len(config.trusted_root.get_fulcio_certs()) == 1
    assert len(config.trusted_root.get_timestamp_authorities()) == 1
    assert config.signing_config.get_fulcio().url == URLS["fulcio"]
    assert [log.url for log in config.signing_config.get_tlogs()] == [f"{URLS['rekor']}/api/v2"]
    assert [tsa.url for tsa in config.signing_config.get_tsas()] == [f"{URLS['tsa']}/api/v1/timestamp"]


def test_rekor_is_named_as_a_signed_note_names_its_key(made, document):
    """cosign finds the key of a checkpoint so (C2SP signed-note); sigstore-python does not look."""
    [log] = document["trustedRoot"]["tlogs"]
    raw = keys.public_key(made.rekor_key).public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    assert base64.b64decode(log["logId"]["keyId"]) == hashlib.sha256(b"127.0.0.1\n\x01" + raw).digest()
    assert log["baseUrl"] == "http://127.0.0.1:5"


def test_the_ct_log_is_named_by_its_key(document):
    [log] = document["trustedRoot"]["ctlogs"]
    key = base64.b64decode(log["publicKey"]["rawBytes"])
    assert base64.b64decode(log["logId"]["keyId"]) == hashlib.sha256(key).digest()


def test_media_types(document):
    assert document["mediaType"] == "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
    assert document["trustedRoot"]["mediaType"] == "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    assert document["signingConfig"]["mediaType"] == "application/vnd.dev.sigstore.signingconfig.v0.2+json"


def test_holds_no_secret(made):
    text = trust_config(made, **URLS)
    assert b"PRIVATE" not in text
    assert made.ca_password.read_bytes() not in text


def test_is_the_same_every_time(made):
    assert trust_config(made, **URLS) == trust_config(made, **URLS)
