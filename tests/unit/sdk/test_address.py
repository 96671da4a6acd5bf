import ssl

import pytest

from bench.certificate import self_signed
from placet_sdk import ConfigurationError
from placet_sdk.address import Address


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"))[0]


@pytest.mark.parametrize(
    ("url", "origin", "socket"),
    [
        ("https://127.0.0.1:8181", "https://127.0.0.1:8181", None),
        ("https://127.0.0.1:8181/", "https://127.0.0.1:8181", None),
        ("HTTPS://opa.example.org", "https://opa.example.org:443", None),
        ("https://[::1]:8181", "https://[::1]:8181", None),
        ("unix:///run/placet/opa.sock", "http://placet", "/run/placet/opa.sock"),
    ],
)
def test_addresses(url, origin, socket, ca):
    address = Address.parse(url, ca, False)
    assert (address.url, address.socket) == (origin, socket)
    assert (address.tls is None) == (socket is not None)


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:8181", "localhost", "https://", "https://:8181", "https://127.0.0.1:99999", "https://127.0.0.1:x",
        "https://a:b@127.0.0.1", "https://@127.0.0.1", "https://127.0.0.1/v1", "https://127.0.0.1?x", "https://127.0.0.1#x",
        "ftp://127.0.0.1", "http+unix://x", "unix://run/opa.sock", "unix:opa.sock", "unix:///a?b", "unix:///a#b",
        "https://[::1", "http://127.0.0.1:8181", "http://localhost:8181",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url, ca):
    with pytest.raises(ConfigurationError):
        Address.parse(url, ca, False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8181", "http://127.9.9.9", "http://[::1]:8181"])
def test_plain_http_is_for_loopback_and_must_be_asked_for(url):
    assert Address.parse(url, None, True).tls is None
    with pytest.raises(ConfigurationError, match="in the sidecar's place"):
        Address.parse(url, None, False)


@pytest.mark.parametrize("url", ["http://10.0.0.1", "http://localhost", "http://127.0.0.1.example.org", "http://[::2]"])
def test_plain_http_to_elsewhere_is_never_allowed(url):
    with pytest.raises(ConfigurationError):
        Address.parse(url, None, True)


def test_tls_needs_the_ca(tmp_path):
    with pytest.raises(ConfigurationError, match="ca= must name"):
        Address.parse("https://127.0.0.1:8181", None, True)
    with pytest.raises(ConfigurationError, match="no CA certificate"):
        Address.parse("https://127.0.0.1:8181", tmp_path / "missing.pem", False)
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(ConfigurationError, match="no CA certificate"):
        Address.parse("https://127.0.0.1:8181", tmp_path / "junk.pem", False)


def test_tls_trusts_the_ca_alone_and_writes_no_keys(ca, tmp_path, monkeypatch):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    tls = Address.parse("https://127.0.0.1:8181", ca, False).tls
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert tls.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(tls.get_ca_certs()) <= 1
    assert tls.cert_store_stats()["x509"] == 1
    assert tls.keylog_filename is None
