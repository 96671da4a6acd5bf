"""Issuers of workloads' identities that the local Fulcio trusts: what makes no sense is refused before it starts."""

import pytest
import yaml

from app.core.errors import UsageError
from app.local.sigstore import LocalSigstore, Ports, keys, services
from cli.sigstore import _spiffe_issuers

URL = "http://127.0.0.1:8470"


def test_each_issuer_has_its_own_trust_domain_and_people_keep_theirs(tmp_path):
    made = keys.load_or_create(tmp_path / "keys")
    two = {URL: "example.org", "https://placet.partner.example": "partner.example"}
    services.fulcio({"fulcio": tmp_path}, made, 1, tmp_path, issuer="http://127.0.0.1:1", log="", spiffe_issuers=two)
    issuers = yaml.safe_load((tmp_path / "issuers.yaml").read_text())["oidc-issuers"]
    assert {url: (one["type"], one.get("spiffe-trust-domain")) for url, one in issuers.items()} == {
        "http://127.0.0.1:1": ("email", None),
        URL: ("spiffe", "example.org"),
        "https://placet.partner.example": ("spiffe", "partner.example"),
    }
    assert all(one["issuer-url"] == url and one["client-id"] == "sigstore" for url, one in issuers.items())


@pytest.mark.parametrize(
    ("url", "domain", "message"),
    [
        ("ftp://127.0.0.1:8470", "example.org", "is no issuer"),
        ("127.0.0.1:8470", "example.org", "is no issuer"),
        (URL + "/", "example.org", "without a slash"),
        (URL + "?x", "example.org", "is no issuer"),
        ("http://placet.example.org", "example.org", "must be https"),
        (URL, "", "no trust domain"),
        (URL, "Example.org", "no trust domain"),
        (URL, "example.org/sidecar", "no trust domain"),
        ("http://127.0.0.1:7560", "example.org", "development issuer"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, url, domain, message):
    with pytest.raises(UsageError, match=message):
        LocalSigstore(tmp_path, Ports(), spiffe_issuers={url: domain})


def test_the_option_names_an_issuer_and_its_domain():
    assert _spiffe_issuers([f"{URL}=example.org", "https://x.example/a=b=partner.example"]) == {
        URL: "example.org",
        "https://x.example/a=b": "partner.example",
    }
    for wrong in ([URL], [f"{URL}=a.example", f"{URL}=b.example"]):
        with pytest.raises(UsageError, match="--spiffe-issuer"):
            _spiffe_issuers(wrong)
