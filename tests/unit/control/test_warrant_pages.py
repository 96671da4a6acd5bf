"""The pages of warrants and executions: who sees them, what they say, and that no token is among it."""

import html

import pytest

from .test_web import HOSTILE, logged_in, page
from .warrant_kit import (
    APPROVER,
    ISSUER,
    OTHER_ISSUER,
    approval,
    ask,
    counted,
    govern,
    prepared,
    start,
)


@pytest.fixture
def api(api):
    return prepared(api)


@pytest.fixture
def browser(anonymous, api):
    return logged_in(anonymous, api.token)


def test_the_list_shows_state_scope_and_what_is_left(browser, api):
    actor = {"issuer": OTHER_ISSUER, "id": "agent-1"}
    issued = ask(api, actor=actor, uses=3).json()["id"]
    gone = ask(api, actions=["pay"]).json()["id"]
    whole = api.get(f"/api/v1/systems/payments/warrants/{issued}").json()
    start(api, counted(issued, whole["claims"]["iss"], 3, whole["claims"]["exp"]))
    api.delete(f"/api/v1/systems/payments/warrants/{gone}", params={"reason": "over"})
    text = page(browser, "/warrants").text
    for shown in ("job-17", "agent-1", "refund", "payment/*", "2 of 3", "issued", "revoked", "any number"):
        assert shown in text, shown
    assert gone not in page(browser, "/warrants?status=issued").text
    assert gone in page(browser, "/warrants?status=revoked&system=payments").text
    assert "the status must be one of" in page(browser, "/warrants?status=odd").text
    assert "cursor is malformed" in page(browser, "/warrants?cursor=x").text
    key = api.get("/api/v1/signing-keys").json()[0]["kid"]
    assert key in text, "and which keys sign"
    assert "by its reason" not in text
    assert "over" in page(browser, f"/systems/payments/warrants/{gone}").text


def test_one_warrant_says_who_asked_and_who_approved_and_shows_no_token(browser, api):
    govern(api, approval={"required": True, "approvers": [APPROVER]})
    waiting = api.get(f"/api/v1/systems/payments/warrants/{ask(api, key='k').json()['id']}").json()
    address = f"/systems/payments/warrants/{waiting['id']}"
    assert "not yet" in page(browser, address).text
    api.post(f"/api/v1{address}/approvals", json={"evidence": approval(waiting)})
    token = ask(api, key="k").json()["token"]
    text = html.unescape(page(browser, address).text)
    for shown in ("lead@example.org", waiting["request_digest"], '"at_most": 100', "spiffe://placet.internal/system"):
        assert shown in text, shown
    assert not [part for part in token.split(".") if part in text]
    page(browser, "/systems/payments/warrants/none", 404)
    page(browser, f"/systems/ledger/warrants/{waiting['id']}", 404)


def test_lists_have_pages(browser, api, monkeypatch):
    monkeypatch.setattr("app.control.web.warrant_pages._PAGE", 2)
    for number in range(3):
        identifier = ask(api, subject={"issuer": ISSUER, "id": f"job-{number}"}).json()["id"]
        start(api, counted(identifier + "x"), execution=f"e-{number}")
    for path, first, last in (("/warrants", "job-2", "job-0"), ("/executions", "e-2", "e-0")):
        text = page(browser, f"{path}?system=payments").text
        assert first in text
        assert last not in text
        older = html.unescape(text.split('rel="next" href="')[1].split('"')[0])
        assert last in page(browser, older).text
        assert 'rel="next"' not in page(browser, older).text


def test_what_is_shown_is_only_text(browser, api):
    hostile = HOSTILE.replace("\u202e", "")
    identifier = ask(api, subject={"issuer": ISSUER, "id": hostile}, actions=[hostile.replace("*", "")]).json()["id"]
    start(api, counted("h", issuer=hostile), subject={"issuer": ISSUER, "id": hostile})
    for path in ("/warrants", f"/systems/payments/warrants/{identifier}", "/executions"):
        text = page(browser, path).text
        assert "<script>alert" not in text, path
        assert "<img" not in text.split('class="mark"')[1].split("</a>", 1)[1], path
        assert "{{7*7}}" in text, path


def test_readers_see_their_own_systems_alone(anonymous, api):
    api.create_system("ledger")
    mine, other = ask(api).json()["id"], ask(api, system="ledger").json()["id"]
    bound = api.with_token("warrant:read", system="payments")
    logged_in(anonymous, bound.token)
    text = page(anonymous, "/warrants").text
    assert (mine in text, other in text) == (True, False)
    assert page(anonymous, "/warrants?system=ledger", 403)
    assert page(anonymous, f"/systems/ledger/warrants/{other}", 403)
    assert page(anonymous, "/executions?system=ledger", 403)
    unrelated = api.with_token("decision:read")
    logged_in(anonymous, unrelated.token)
    assert page(anonymous, "/warrants", 403)
    assert "/warrants" not in page(anonymous, "/decisions").text, "no entry in the menu"
