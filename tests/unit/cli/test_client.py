"""What commands say of a control plane that does not answer, or of no token for it."""

import socket

import httpx
import pytest

from app.core.errors import Denied, PlacetError, UsageError
from app.core.reason_codes import Reason
from app.sidecar.config import SidecarFiles
from cli import client, progress, sidecar
from cli.edge import Edge


@pytest.fixture
def silent(monkeypatch):
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("PLACET_TOKEN", "placet_1_x")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_never_answers_is_waited_for_aloud_and_not_for_ever(silent, monkeypatch, capsys):
    assert (client.READ_TIMEOUT, client.CHANGE_TIMEOUT) == (60, 180), "a policy of 10,000 rules is checked first"
    monkeypatch.setattr(client, "READ_TIMEOUT", 0.5)
    monkeypatch.setattr(progress, "_QUIET", 0.1)
    with client.connect(silent, None) as plane, pytest.raises(PlacetError, match=f"at {silent} did not answer in time"):
        plane.get("/api/v1/systems")
    assert capsys.readouterr().err.startswith(f"still waiting for {silent}\n")


def test_a_sidecar_without_a_token_is_told_of_invitations(tmp_path, monkeypatch):
    monkeypatch.delenv("PLACET_TOKEN", raising=False)
    with pytest.raises(UsageError, match=r"no API token: .*--token-file FILE or, .*--join-token FILE"):
        sidecar._given(SidecarFiles(tmp_path), None, None)


@pytest.mark.parametrize("given", [[], ["sidecar.taken"], {"code": "x"}, None, 7, "made up"])
def test_a_refusal_with_a_reason_of_any_kind_is_one_line(given):
    """Whatever stands before a control plane may answer in its place."""
    answer = httpx.Response(403, json={"reason": given, "detail": "no"})
    assert str(client._failure(answer, "s")) == "no"
    with pytest.raises(PlacetError, match=r"^the sidecar: no$"):
        Edge(httpx.Client(), "the sidecar")._answer(409, answer.content)
    known = client._failure(httpx.Response(403, json={"reason": "sidecar.taken", "detail": "no"}), "s")
    assert (type(known), known.reason) == (Denied, Reason.SIDECAR_TAKEN)


def test_what_is_nested_too_deep_is_no_answer():
    answer = httpx.Response(200, content=b"[" * 100_000, request=httpx.Request("GET", "http://p.example.org"))
    with pytest.raises(PlacetError, match="did not answer as a control plane does"):
        client._json(answer)
    assert "is it a control plane?" in str(client._failure(answer, "s"))
