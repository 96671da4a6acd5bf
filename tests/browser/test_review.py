"""The review UI in a real browser: signing in, filtering while typing, one decision whole, hostile records."""

import re

import pytest
from playwright.sync_api import expect


def rows(page):
    return page.locator("#results tbody tr")


def test_signing_in_and_out(context, server):
    page = context.new_page()
    page.goto("/decisions?outcome=deny")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    page.get_by_label("API token").fill("placet_000000000000_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("This token is unknown or revoked.")
    page.get_by_label("API token").fill(server[1])
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/decisions\?outcome=deny$"))
    assert page.evaluate("document.cookie") == "", "scripts cannot read the session"
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile(r"/login$"))
    page.goto("/decisions")
    expect(page).to_have_url(re.compile(r"/login"))


def test_the_list_follows_what_is_typed(page):
    expect(rows(page)).to_have_count(50)
    loads = []
    page.on("load", lambda _: loads.append(1))
    page.get_by_label("Text").press_sequentially("in-01*", delay=20)
    expect(rows(page)).to_have_count(10)
    expect(page).to_have_url(re.compile(r"/decisions\?text=in-01%2A$"))
    page.get_by_label("Outcome").select_option("deny")
    expect(rows(page)).to_have_count(3)
    expect(page.get_by_label("Text")).to_have_value("in-01*")
    page.get_by_label("From (UTC)").fill("2026-01-31T12:00:15")
    expect(rows(page)).to_have_count(2)
    page.get_by_label("System").select_option("ledger")
    expect(page.get_by_text("No decision fits.")).to_be_visible()
    assert loads == [], "the page itself was never loaded again"
    page.reload()
    expect(page.get_by_label("System")).to_have_value("ledger")
    page.get_by_role("link", name="Clear").click()
    expect(rows(page)).to_have_count(50)


def test_paging_to_the_oldest_and_back(page):
    newest = rows(page).first.inner_text()
    seen = 50
    while page.get_by_role("link", name="Older").count():
        before = rows(page).first.inner_text()
        page.get_by_role("link", name="Older").click()
        expect(rows(page).first).not_to_have_text(before)
        seen += rows(page).count()
    assert seen == 121
    page.get_by_role("link", name="Newest").click()
    expect(rows(page).first).to_have_text(re.compile(re.escape(newest.split("\t")[0])))


def test_a_decision_is_found_and_shown_whole(page, screenshot):
    page.get_by_label("Text").fill("in-033")
    expect(rows(page)).to_have_count(1)
    screenshot(page, "decisions")
    rows(page).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("deny")
    for text in ("decision-033", "job-5", "https://tokens.example.org", "The policy denies the request.", "sha256:111"):
        expect(page.get_by_role("main")).to_contain_text(text)
    page.get_by_text("Raw line").click()
    expect(page.locator("details[open] pre")).to_contain_text('"decision_id": "decision-033"')
    screenshot(page, "decision")


def test_hostile_records_stay_text(page, context):
    page.get_by_label("Text").fill("<script>")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text('<script>document.title="owned"</script>')
    rows(page).get_by_role("link").click()
    expect(page.get_by_role("main")).to_contain_text("<img src=x onerror=")
    page.wait_for_load_state("networkidle")
    assert page.title() == "Decision decision-999 · Placet"
    assert page.locator("main img, main script").count() == 0


def test_an_inline_script_would_not_run(page):
    """The policy of the page is the second line: even a mistake in escaping could not run anything."""
    page.evaluate(
        """() => { const s = document.createElement("script"); s.textContent = "document.title = 'owned'";
                   document.body.append(s); }"""
    )
    assert "owned" not in page.title()
    page.context.troubles.clear()  # the browser's own note about what it refused


def test_it_works_without_javascript(chromium, server):
    context = chromium.new_context(base_url=server[0], java_script_enabled=False)
    page = context.new_page()
    page.goto("/decisions")
    page.get_by_label("API token").fill(server[1])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Text").fill("in-01*")
    page.get_by_label("Outcome").select_option("deny")
    page.get_by_role("button", name="Filter").click()
    expect(rows(page)).to_have_count(3)  # a click does not wait for the next page to be there
    page.goto("/decisions")
    newest = rows(page).first.inner_text()
    page.get_by_role("link", name="Older").click()
    expect(rows(page).first).not_to_have_text(newest)
    expect(rows(page)).to_have_count(50)
    context.close()


@pytest.mark.parametrize("path", ["/systems", "/systems/payments", "/sidecars", "/quarantine", "/keeping"])
def test_every_page_opens_without_complaint(page, path):
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_a_page_that_is_not_there_says_so(page, context):
    assert page.goto("/decisions/none").status == 404
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    context.troubles.clear()  # the browser reports the 404 itself
