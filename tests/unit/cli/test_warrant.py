"""`placet warrant` against a control plane that says anything."""

import json

import httpx
import pytest

from app.core.errors import Denied, PlacetError, UsageError
from app.core.warrant_request import WarrantRequest
from cli import client, signing, warrant
from cli.output import Output
from tests.unit.core.chains import claims, root

REQUEST = {
    "subject": {"issuer": "https://i.example", "id": "job-17"},
    "actions": ["refund"],
    "resources": ["payment/*"],
    "lifetime_seconds": 900,
}
PENDING = {
    "id": "w1",
    "status": "pending",
    "request": REQUEST,
    "request_digest": WarrantRequest.model_validate(REQUEST).digest("payments", "w1"),
}


@pytest.fixture
def plane(monkeypatch):
    """Answers with what stands in `answers`, one after the other; what was asked stands in `asked`."""

    class Plane:
        def __init__(self):
            self.answers, self.asked = [], []

        def handle(self, request):
            self.asked.append(request)
            return httpx.Response(200, json=self.answers.pop(0))

    there = Plane()
    transport = httpx.MockTransport(there.handle)
    monkeypatch.setattr(
        client, "connect", lambda *_: client.ControlPlane(httpx.Client(transport=transport, base_url="http://p"), "p")
    )
    return there


@pytest.fixture
def signer(monkeypatch):
    """Signs whatever it is given; the statements stand in the list."""
    signed = []

    class Session:
        identity, issuer = "lead@example.org", "https://accounts.example"

        def sign(self, statement):
            signed.append(json.loads(statement))
            return b"{}"

    monkeypatch.setattr(signing, "session", lambda *_: Session())
    return signed


def approve(**more):
    warrant.approve("w1", "payments", **({"yes": True, "output": Output.JSON} | more))


def test_what_is_signed_is_the_request_that_was_shown(plane, signer, capsys):
    plane.answers = [PENDING, {"status": "issued"}]
    approve()
    (statement,) = signer
    assert statement["predicate"]["request"] == REQUEST
    assert "sha256:" + statement["subject"][0]["digest"]["sha256"] == PENDING["request_digest"]
    shown = capsys.readouterr().err
    assert "job-17" in shown
    assert json.loads(plane.asked[1].content) == {"evidence": "{}"}


LIES = {
    "another digest": (PENDING | {"request_digest": "sha256:" + "0" * 64}, PlacetError, "another digest"),
    "another warrant's digest": (
        PENDING | {"request_digest": WarrantRequest.model_validate(REQUEST).digest("payments", "w2")},
        PlacetError,
        "another digest",
    ),
    "another request": (PENDING | {"request": REQUEST | {"actions": ["*"]}}, PlacetError, "another digest"),
    "members beside the request": (PENDING | {"request": REQUEST | {"hidden": 1}}, UsageError, "hidden"),
    "no request": (PENDING | {"request": None}, UsageError, "dictionary|object|instance"),
    "issued already": (PENDING | {"status": "issued"}, UsageError, "only a pending one"),
}


@pytest.mark.parametrize(("answer", "kind", "said"), LIES.values(), ids=LIES)
def test_nothing_is_signed_when_the_control_plane_contradicts_itself(plane, signer, answer, kind, said):
    plane.answers = [answer]
    with pytest.raises(kind, match=said):
        approve()
    assert signer == []


def test_nothing_is_signed_unasked(plane, signer):
    plane.answers = [PENDING]
    with pytest.raises(UsageError, match="give --yes"):
        approve(yes=False)
    assert signer == []


def test_a_list_is_followed_from_page_to_page(plane, capsys):
    rows = [{"id": str(number), "status": "issued", "subject": REQUEST["subject"]} for number in range(3)]
    plane.answers = [{"items": rows[:2], "next": "c1"}, {"items": rows[2:], "next": None}]
    warrant.list_("payments", subject="https://i.example#job-17", status=None, limit=50, output=Output.JSON)
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ["0", "1", "2"]
    assert [dict(request.url.params) for request in plane.asked] == [
        {"subject": "https://i.example#job-17", "limit": "50"},
        {"subject": "https://i.example#job-17", "limit": "48", "cursor": "c1"},
    ]


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        ("pending", Denied, r"warrant\.unapproved: have it approved"),
        ("revoked", Denied, r"warrant\.revoked"),
        ("issued", PlacetError, "warrant:issue"),
    ],
)
def test_without_a_token_there_is_no_file(plane, tmp_path, status, kind, said):
    plane.answers = [{"id": "w1", "status": status, "token": None}]
    with pytest.raises(kind, match=said):
        warrant.fetch("w1", "payments", out=tmp_path / "w", output=Output.JSON)
    assert not (tmp_path / "w").exists()


def test_a_chain_is_revoked_by_its_last_warrant(plane, tmp_path, capsys):
    plane.answers = [{}]
    (tmp_path / "chain").write_text(root(jti="a") + "\n" + root(jti="b") + "\n")
    warrant.revoke("payments", None, tmp_path / "chain", output=Output.JSON)
    (asked,) = plane.asked
    assert asked.method == "DELETE"
    assert asked.url.path == "/api/v1/systems/payments/warrants/b"
    assert dict(asked.url.params) == {"expires_at": str(claims()["exp"])}
    for one, other in (("b", tmp_path / "chain"), (None, None)):
        with pytest.raises(UsageError, match="or --file"):
            warrant.revoke("payments", one, other)


def test_names_cannot_leave_their_place_in_the_path(plane):
    plane.answers = [{"id": "x", "status": "revoked", "token": None}]
    with pytest.raises(Denied):
        warrant.fetch("..?x=", "pay?ments", output=Output.JSON)
    assert plane.asked[0].url.raw_path == b"/api/v1/systems/pay%3Fments/warrants/..%3Fx%3D"
    with pytest.raises(UsageError, match="it has a slash"):
        warrant.fetch("x", "pay/ments", output=Output.JSON)
    with pytest.raises(UsageError, match=r"'\.\./x' is no name: it has a slash"):
        warrant.revoke("payments", "../x", output=Output.JSON)
