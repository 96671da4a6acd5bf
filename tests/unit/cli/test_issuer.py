"""`placet issuer` against a control plane that takes everything."""

import json

import httpx
import pytest

from cli import client, issuer
from cli.issuer import Kind
from cli.output import Output

ADDED = {"source": None, "shares_names_with": [], "keys": [], "x509_roots": []}


@pytest.fixture
def sent(monkeypatch):
    """The documents that were sent."""
    documents = []

    def handle(request):
        documents.append(json.loads(request.content))
        return httpx.Response(201, json=ADDED)

    made = httpx.Client(transport=httpx.MockTransport(handle), base_url="http://p")
    monkeypatch.setattr(client, "connect", lambda *_: client.ControlPlane(made, "p"))
    return documents


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("https://tokens.example.org", None, "oidc"),
        ("spiffe://example.org", None, "spiffe"),
        ("spiffe://example.org", Kind.SPIFFE, "spiffe"),
        ("spiffe://example.org", Kind.OIDC, "oidc"),
        ("https://kubernetes.default.svc", Kind.KUBERNETES, "kubernetes"),
    ],
)
def test_the_kind_follows_from_the_name(sent, name, kind, expected):
    """The control plane refuses what is contradictory."""
    issuer.add(name, ["payments"], discover=True, kind=kind, output=Output.JSON)
    assert sent[0]["kind"] == expected
