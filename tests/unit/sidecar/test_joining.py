"""A sidecar that enrols by its workload's token goes on with what it has, and asks again only when that is void."""

import json

import httpx
import pytest

from app.core.errors import Denied, PlacetError, UsageError
from app.core.reason_codes import Reason
from app.sidecar import joining
from app.sidecar.config import SidecarFiles

MINE = {"token": "placet_t1_s", "system": "payments", "sidecar": "one"}


@pytest.fixture
def plane(monkeypatch):
    """Answers by path with (status, document), or does not; what was asked stands in `asked`."""

    class Plane:
        def __init__(self):
            self.asked = []
            self.answers = {"/api/v1/enrol": (201, MINE), "/api/v1/systems/payments": (403, {})}

        def handle(self, request):
            self.asked.append((request.url.path, json.loads(request.content or "null")))
            if request.url.path not in self.answers:
                raise httpx.ConnectError("down")
            status, document = self.answers[request.url.path]
            if isinstance(document, bytes):
                return httpx.Response(status, content=document)
            return httpx.Response(status, json=document)

    there = Plane()
    transport = httpx.MockTransport(there.handle)
    monkeypatch.setattr(joining, "_client", lambda *_: httpx.Client(transport=transport, base_url="http://p"))
    return there


@pytest.fixture
def files(tmp_path):
    found = SidecarFiles(tmp_path / "one")
    found.prepare()
    return found


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text("i.d.t\n")
    return file


def enrolled(files, token):
    return joining.enrolled_token(files, "http://p", None, "payments", "one", token)


def test_it_enrols_once_and_keeps_what_it_gets(plane, files, token):
    assert enrolled(files, token) == "placet_t1_s"
    assert plane.asked == [("/api/v1/enrol", {"identity_token": "i.d.t", "system": "payments", "sidecar": "one"})]
    assert joining.kept(files).stat().st_mode & 0o777 == 0o600
    token.unlink()
    assert enrolled(files, token) == "placet_t1_s"
    assert len(plane.asked) == 2, "only whether it is known still"
    assert joining.own_token(files, "http://p", None, "payments", "one") == "placet_t1_s", "also without the option"


@pytest.mark.parametrize("answer", [None, (403, {"reason": "sidecar.evicted"}), (503, {}), (500, {}), (429, {})])
def test_only_an_unknown_token_is_given_up(plane, files, token, answer):
    """An evicted sidecar goes on, so that its agent is told so; a control plane that is down says nothing."""
    enrolled(files, token)
    plane.answers = {"/api/v1/enrol": (201, MINE | {"token": "placet_t2_s"})}
    plane.answers |= {"/api/v1/systems/payments": answer} if answer else {}
    assert enrolled(files, token) == "placet_t1_s"
    plane.answers["/api/v1/systems/payments"] = (401, {})
    assert enrolled(files, token) == "placet_t2_s"


def test_a_join_token_that_does_not_count_is_a_denial(plane, files):
    plane.answers = {"/api/v1/join": (403, {"reason": "sidecar.invitation", "detail": "this join token is void"})}
    with pytest.raises(Denied, match=r"^sidecar\.invitation: cannot join: this join token is void$") as refused:
        joining.own_token(files, "http://p", None, "payments", "one", "placet-join_ab_cd")
    assert refused.value.exit_code == 3
    with pytest.raises(UsageError, match="looks like placet-join_ID_SECRET"):
        joining.own_token(files, "http://p", None, "payments", "one", "hello")


def test_a_refusal_keeps_its_reason_and_nothing_else(plane, files, token):
    plane.answers = {"/api/v1/enrol": (403, {"reason": "sidecar.not_allowed", "detail": "no"})}
    with pytest.raises(Denied, match="cannot join: no") as refused:
        enrolled(files, token)
    assert refused.value.reason == Reason.SIDECAR_NOT_ALLOWED
    for answer, text in (
        ((403, {"reason": "made up", "detail": "no"}), "cannot join: no"),
        *(
            ((403, {"reason": given, "detail": "no"}), "cannot join: no")
            for given in ([], ["sidecar.taken"], {}, None, 7)
        ),
        ((429, {}), "cannot join: status 429"),
        ((201, MINE | {"sidecar": "two"}), "gave a token for another sidecar"),
        ((201, {}), "gave a token for another sidecar"),
        ((403, []), "cannot join: status 403"),
        ((403, b"[" * 60_000), "cannot join: the control plane does not answer: nested more than"),
    ):
        plane.answers = {"/api/v1/enrol": answer}
        with pytest.raises(PlacetError, match=text):
            enrolled(files, token)
    plane.answers = {}
    with pytest.raises(PlacetError, match="the control plane does not answer"):
        enrolled(files, token)
    token.unlink()
    with pytest.raises(UsageError, match="cannot read the identity token"):
        enrolled(files, token)
    assert not joining.kept(files).exists()


def test_a_directory_of_another_sidecar_is_left_alone(plane, files, token):
    enrolled(files, token)
    with pytest.raises(PlacetError, match="is the directory of the sidecar one of payments"):
        joining.enrolled_token(files, "http://p", None, "payments", "two", token)
