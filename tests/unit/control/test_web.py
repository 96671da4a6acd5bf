"""The pages without a browser: who may see them, what they say, and that what they show is only text."""

import html
import re

import pytest

from .conftest import LINK, record, signed
from .test_sidecars import STATUS

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}\u202e"


@pytest.fixture
def browser(anonymous, api):
    """A client that logged in as the first administrator."""
    return logged_in(anonymous, api.token)


def logged_in(client, token, **form):
    answer = client.post("/login", data={"token": token, **form})
    assert answer.status_code == 303, answer.text
    return client


def page(client, path, status=200):
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return answer


def test_the_login_opens_a_session_that_scripts_and_other_sites_cannot_use(anonymous, api):
    answer = anonymous.post("/login", data={"token": api.token, "next": "/systems?x=1"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/systems?x=1")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert api.token.split("_", 2)[2].lower() not in cookie
    assert page(anonymous, "/decisions").text.count("Sign out") == 1


@pytest.mark.parametrize("token", ["", "nonsense", "placet_a_b", "placet_\0_b", "\u00e9" * 40, "x" * 200])
def test_a_wrong_token_opens_nothing(anonymous, token):
    answer = anonymous.post("/login", data={"token": token})
    assert answer.status_code == 401
    assert "unknown or revoked" in answer.text
    assert anonymous.get("/decisions").status_code == 303


@pytest.mark.parametrize(
    "address", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "/a\r\nb"]
)
def test_the_login_leads_nowhere_else(anonymous, api, address):
    assert logged_in(anonymous, api.token)
    answer = anonymous.post("/login", data={"token": api.token, "next": address})
    assert answer.headers["location"] == "/decisions"
    assert 'value="/decisions"' in anonymous.get("/login", params={"next": address}).text


def test_a_form_of_another_site_is_refused(anonymous, api):
    logged_in(anonymous, api.token)
    for path in ("/login", "/logout"):
        answer = anonymous.post(path, data={"token": api.token}, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403
    assert page(anonymous, "/decisions")


def test_revoking_the_token_ends_the_session(anonymous, api):
    reader = api.with_token("decision:read")
    logged_in(anonymous, reader.token)
    assert page(anonymous, "/decisions")
    api.delete(f"/api/v1/tokens/{reader.token.split('_')[1]}")
    assert anonymous.get("/decisions").status_code == 303
    live = anonymous.get("/decisions", headers={"HX-Request": "true"})
    assert (live.status_code, live.headers["hx-redirect"]) == (401, "/login")


def test_signing_out_ends_the_session(browser):
    assert browser.post("/logout").headers["location"] == "/login"
    assert browser.get("/decisions").status_code == 303


def test_a_changed_cookie_is_no_session(browser):
    value = browser.cookies["placet_session"]
    browser.cookies.clear()
    browser.cookies.set("placet_session", value[:-2] + ("AA" if value[-2:] != "AA" else "BB"))
    assert browser.get("/decisions").status_code == 303


def test_a_session_is_not_a_token_for_the_api(browser):
    assert browser.get("/api/v1/systems").status_code == 401


@pytest.mark.parametrize("path", ["/decisions", "/systems", "/sidecars", "/quarantine", "/keeping"])
def test_empty_pages_say_so(browser, path):
    assert 'class="empty"' in page(browser, path).text


def test_every_page_loads_and_runs_its_own_files_alone(browser):
    answer = page(browser, "/decisions")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*src=\"/static/)|\sstyle=|\son\w+=|<style", answer.text)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', answer.text)) >= {"/static/style.css", "/static/htmx.min.js"}
    assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text)
    for asset in ("style.css", "htmx.min.js", "mark.svg", "htmx.LICENSE.txt"):
        assert browser.get(f"/static/{asset}").status_code == 200


def test_pages_need_their_scope(anonymous, api):
    logged_in(anonymous, api.with_token("decision:read").token)
    text = page(anonymous, "/decisions").text
    assert "/sidecars" not in text
    assert "lacks the scope" in page(anonymous, "/systems", status=403).text


def test_a_bound_reader_sees_its_own_system(anonymous, api):
    api.create_system("payments")
    api.create_system("ledger")
    api.ship(record("p1"))
    api.ship(record("l1"), system="ledger")
    logged_in(anonymous, api.with_token("decision:read", "system:read", system="payments").token)
    text = page(anonymous, "/decisions").text
    assert "/decisions/p1" in text
    assert "l1" not in text
    assert "ledger" not in page(anonymous, "/systems").text
    page(anonymous, "/decisions/l1", status=404)
    page(anonymous, "/systems/ledger", status=403)


def test_the_list_filters_with_plain_forms_and_live(browser, api):
    api.create_system()
    api.ship(b"".join(record(f"d{number:02}", allow=number % 2 == 0) for number in range(60)))
    full = page(browser, "/decisions?outcome=deny&text=D5*").text
    assert re.findall(r"/decisions/(d\d\d)", full) == ["d59", "d57", "d55", "d53", "d51"]
    assert '<option value="deny" selected>' in full
    live = browser.get("/decisions?outcome=deny&text=d5*&since=", headers={"HX-Request": "true"})
    assert "<html" not in live.text
    assert live.headers["hx-replace-url"] == "/decisions?outcome=deny&text=d5%2A"
    assert re.findall(r"/decisions/(d\d\d)", live.text) == ["d59", "d57", "d55", "d53", "d51"]
    restored = browser.get("/decisions", headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<html" in restored.text

    first = page(browser, "/decisions").text
    older = html.unescape(re.search(r'rel="next" href="([^"]+)"', first)[1])
    rest = page(browser, older).text
    seen = re.findall(r"/decisions/(d\d\d)", first + rest)
    assert (len(seen), len(set(seen))) == (60, 60)
    assert 'rel="next"' not in rest


def test_a_live_error_is_a_line_and_not_a_page_in_the_page(browser):
    answer = browser.get("/decisions", params={"text": "x" * 201}, headers={"HX-Request": "true"})
    assert (answer.status_code, answer.text.count('role="alert"')) == (422, 1)
    assert "<html" not in answer.text


def test_a_filter_that_makes_no_sense_says_so(browser):
    assert "is not a time" in page(browser, "/decisions?since=yesterday").text


def test_a_decision_is_shown_whole_with_who_signed_its_policy(browser, api):
    api.create_system()
    link = signed(
        predicate_type=LINK,
        predicate={"name": "build", "command": ["placet", "bundle", "build"], "materials": [{"name": "authz.rego"}]},
        subject=[{"name": "payments.tar.gz", "digest": {"sha256": "ab" * 32}}],
    )
    digest = api.publish(b"one", attestations=[link]).json()["digest"]
    api.put("/api/v1/systems/payments/channels/prod", json={"release": digest})
    result = {
        "allow": False,
        "reasons": [{"code": "policy.denied", "message": "Too much."}],
        "bundles": {"policy": digest, "library": "sha256:" + "2" * 64},
        "subject": {"issuer": "https://tokens.example.org", "id": "job-17"},
    }
    api.ship(record("d1", result=result).replace(b'"in-7"', b"1e400"))
    text = page(browser, "/decisions/d1").text
    for shown in (
        "job-17",
        "https://tokens.example.org",
        "policy.denied",
        "Too much.",
        digest,
        "dev@example.org",
        "1e400",
    ):
        assert shown in text, shown
    address = f"/systems/payments/releases/{digest.replace(':', '%3A')}"
    assert address in text
    release = page(browser, address).text
    for shown in (
        "dev@example.org",
        "build",
        "placet bundle build",
        "authz.rego",
        "payments.tar.gz",
        "prod (sequence 1)",
    ):
        assert shown in release, shown
    for file in re.findall(r'href="(/tuf/targets/[^"]+)"', release):
        assert browser.get(file).status_code == 200
    assert digest[7:19] in page(browser, "/systems/payments").text
    assert digest[7:19] in page(browser, "/systems").text


def test_records_that_do_not_parse_are_shown_as_text(browser, api):
    api.create_system()
    api.ship(b'{"decision_id": "\xff<b>\n')
    (found,) = api.get("/api/v1/decisions").json()["items"]
    text = page(browser, f"/decisions/{found['decision_id']}").text
    assert "unreadable" in text
    assert "\\xff&lt;b&gt;" in text


def test_two_records_of_one_id_are_pointed_out(browser, api):
    api.create_system()
    api.ship(record("d1") * 2)
    assert "2 records carry this id" in page(browser, "/decisions/d1").text


def test_hostile_text_is_only_text(browser, api):
    api.create_system()
    reasons = [{"code": HOSTILE, "message": HOSTILE}]
    subject = {"issuer": HOSTILE, "id": HOSTILE}
    asked = {"action": {"name": HOSTILE}, "resource": {"type": HOSTILE, "id": HOSTILE}, HOSTILE: HOSTILE}
    api.ship(record("d1", input=asked, result={"allow": False, "reasons": reasons, "subject": subject}))
    trouble = [{"code": HOSTILE[:-1], "detail": HOSTILE}]
    status = api.post("/api/v1/systems/payments/sidecars/one/status", json=STATUS | {"reasons": trouble})
    assert status.status_code == 200, status.text
    api.post("/api/v1/quarantine", json={"issuer": HOSTILE, "subject": HOSTILE, "reason": HOSTILE})
    hostile_name = {"name": HOSTILE, "scopes": ["decision:read"]}
    assert api.post("/api/v1/tokens", json=hostile_name).status_code == 201
    held = api.post("/api/v1/holds", json={"issuer": HOSTILE, "subject": HOSTILE, "reason": HOSTILE})
    assert held.status_code == 201, held.text
    for path in ("/decisions", "/decisions/d1", "/sidecars", "/quarantine", "/keeping", f"/decisions?text={HOSTILE}"):
        text = page(browser, path).text
        assert "<script>alert" not in text
        assert "<img" not in text.replace('<img src="/static/mark.svg"', "")
        assert "&lt;script&gt;alert(1)" in text
        assert "49" not in re.findall(r"onerror=alert\(2\)&gt;&#39;(\S{2})", text)


@pytest.mark.parametrize(
    "path",
    ["/decisions/none", "/systems/none", f"/systems/none/releases/sha256:{'0' * 64}", "/nowhere", "/systems/a/b"],
)
def test_what_is_not_there_is_not_found(browser, path):
    assert "Back to the decisions" in page(browser, path, status=404).text


def test_a_wrong_method_is_an_error_page(browser):
    assert browser.post("/decisions").status_code == 405


def test_health_says_what_is_wrong(anonymous, plane, monkeypatch):
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    assert anonymous.get("/readyz").json() == {"status": "ok"}
    (plane.settings.directory / "objects" / "placet").unlink()
    answer = anonymous.get("/readyz")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
