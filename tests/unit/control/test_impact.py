"""A channel waits for what its system demands to know of a release; a report cannot leave records out in silence."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from app.control.store import ImpactReport
from app.control.store.columns import now

from .conftest import record
from .test_web import logged_in, page

SYSTEM = "/api/v1/systems/payments"
DEMAND, REPORTS = f"{SYSTEM}/impact/demand", f"{SYSTEM}/impact/reports"
CHANNEL = f"{SYSTEM}/channels/prod"
GROUP = {
    "change": "allow-to-deny",
    "action": "refund",
    "resource_type": "invoice",
    "issuer": "https://tokens.example.org",
    "reason": "policy.denied",
    "count": 2,
    "examples": ["d1", "d2"],
}


def when(**ago):
    return (now() - timedelta(**ago)).isoformat()


@pytest.fixture
def releases(api):
    """Two releases of a system of which ten decisions of the last hour are stored."""
    api.create_system("payments")
    lines = [record(f"d{number}", at=when(minutes=10 + number)) for number in range(10)]
    assert api.ship(b"".join(lines)).status_code == 200
    found = []
    for bundle in (b"one", b"two"):
        answer = api.publish(bundle)
        assert answer.status_code == 201, answer.text
        found.append(answer.json()["digest"])
    return found


def demand(api, **rule):
    answer = api.put(DEMAND, json={"required": True, **rule})
    assert answer.status_code == 200, answer.text
    return answer.json()


def report(release, **members):
    return {
        "release": release,
        "since": when(days=8),
        "until": when(seconds=30),
        "records": 10,
        "changed": 2,
        "unavailable": 0,
        "inputs": "sha256:" + "7" * 64,
        "groups": [GROUP],
    } | members


def send(api, release, **members):
    answer = api.post(REPORTS, json=report(release, **members))
    assert answer.status_code == 201, answer.text
    return answer.json()


def point(api, release, channel=CHANNEL):
    return api.put(channel, json={"release": release})


def refused(answer, reason, detail):
    assert (answer.status_code, answer.json()["reason"]) == (422, reason), answer.text
    assert detail in answer.json()["detail"]


def test_a_channel_waits_for_a_report(api, releases):
    first, second = releases
    assert api.get(DEMAND).json()["required"] is False
    assert point(api, first).status_code == 200
    assert demand(api, max_changed=2)["since_seconds"] == 7 * 86400
    refused(point(api, second), "impact.missing", "there is no report")
    kept = send(api, second)
    assert (kept["complete"], kept["recorded_by"], kept["groups"]) == (True, "first administrator", [GROUP])
    assert point(api, second).status_code == 200
    assert point(api, second).status_code == 200, "the same again changes nothing"
    # Back to what this channel has had needs no report; another channel is another one.
    assert point(api, first).status_code == 200
    refused(point(api, first, CHANNEL.replace("prod", "dev")), "impact.missing", "there is no report")
    assert [one["id"] for one in api.get(REPORTS, params={"release": second}).json()] == [kept["id"]]
    assert api.get(REPORTS, params={"release": first}).json() == []
    assert api.put(DEMAND, json={"required": False}).json()["required"] is False
    assert point(api, first, CHANNEL.replace("prod", "dev")).status_code == 200


@pytest.mark.parametrize(
    ("rule", "members", "detail"),
    [
        ({"max_changed": 1}, {}, "2 of 10 past decisions change and 0 are unknown; 1 may"),
        ({"max_percent": 19.9}, {}, "1 may"),
        # What nobody can tell may change.
        ({"max_changed": 3}, {"unavailable": 2}, "2 of 10 past decisions change and 2 are unknown; 3 may"),
        ({"max_changed": 0}, {"changed": 0, "unavailable": 1, "groups": []}, "0 may"),
    ],
)
def test_too_much_change_is_refused(api, releases, rule, members, detail):
    demand(api, **rule)
    send(api, releases[1], **members)
    refused(point(api, releases[1]), "impact.exceeded", detail)


@pytest.mark.parametrize("rule", [{}, {"max_changed": 2}, {"max_percent": 20}, {"max_percent": 100}])
def test_as_much_as_may_change_is_not(api, releases, rule):
    demand(api, **rule)
    send(api, releases[1])
    assert point(api, releases[1]).status_code == 200


@pytest.mark.parametrize(
    ("members", "detail"),
    [
        ({"records": 9}, "does not cover all records"),
        ({"records": 11}, "does not cover all records"),
        ({"until": when(minutes=15)}, "does not cover all records"),
        ({"since": when(days=6)}, "less than 604800 s before its end"),
        ({"since": when(days=20), "until": when(days=2), "records": 0, "changed": 0, "groups": []}, "more than a day"),
    ],
)
def test_a_report_that_says_too_little_does_not_do(api, releases, members, detail):
    demand(api)
    send(api, releases[1])
    send(api, releases[1], **members)  # the last one counts
    refused(point(api, releases[1]), "impact.missing", detail)


def test_a_system_without_a_past_may_begin(api):
    api.create_system("payments")
    release = api.publish(b"one").json()["digest"]
    demand(api, max_changed=0)
    assert send(api, release, records=0, changed=0, groups=[])["complete"] is True
    assert point(api, release).status_code == 200


@pytest.mark.parametrize(
    "members",
    [
        {"changed": 3},
        {"changed": 11, "groups": [{**GROUP, "count": 11}]},
        {"unavailable": 9},
        {"since": when(seconds=20), "until": when(seconds=30)},
        {"until": (datetime.now(UTC) + timedelta(days=1)).isoformat()},
        {"groups": [{**GROUP, "change": "better"}]},
        {"groups": [{**GROUP, "action": "x" * 201}]},
        {"groups": [{**GROUP, "action": "a\nb"}]},
        {"groups": [{**GROUP, "examples": ["d"] * 6}]},
        {"groups": [{**GROUP, "count": 0}, GROUP]},
        {"records": -1},
        {"inputs": "sha256:1"},
        {"complete": True},
        {"since": "2026-01-31T12:00:00"},
    ],
)
def test_a_report_that_contradicts_itself_is_refused(api, releases, plane, members):
    assert api.post(REPORTS, json=report(releases[1], **members)).status_code == 422
    with plane.store.read() as session:
        assert session.exec(select(ImpactReport)).all() == []


def test_it_is_about_a_release_of_the_system(api, releases):
    assert api.post(REPORTS, json=report("sha256:" + "9" * 64)).status_code == 404
    api.create_system("ledger")
    path = REPORTS.replace("payments", "ledger")
    assert api.post(path, json=report(releases[1])).status_code == 404
    assert api.get(path).json() == []
    assert api.get(REPORTS.replace("payments", "nobody")).status_code == 404


@pytest.mark.parametrize(
    "rule",
    [
        {"max_changed": 1, "max_percent": 1},
        {"max_changed": -1},
        {"max_changed": True},
        {"max_percent": 101},
        {"since_seconds": 0},
        {"required": None},
        {"records": 1},
    ],
)
def test_odd_demands_are_refused(api, rule):
    api.create_system("payments")
    assert api.put(DEMAND, json={"required": True, **rule}).status_code == 422


def test_who_may(api, releases):
    for scope in ("channel:write", "release:write", "system:read"):
        assert api.with_token(scope).put(DEMAND, json={"required": False}).status_code == 403
    for scope in ("channel:write", "system:write", "system:read"):
        assert api.with_token(scope).post(REPORTS, json=report(releases[1])).status_code == 403
    named = api.with_token("release:write", system="payments", name="nightly run")
    assert send(named, releases[1])["recorded_by"] == "nightly run"


def test_the_release_page_shows_the_last_report(api, anonymous, releases):
    address = f"/systems/payments/releases/{releases[1]}"
    browser = logged_in(anonymous, api.token)
    assert "Nobody has recorded it" in page(browser, address).text
    send(api, releases[1], groups=[{**GROUP, "action": "<script>"}], records=9, unavailable=1)
    text = page(browser, address).text
    assert "2 of 9 decisions from" in text
    assert "of 1 nobody can tell" in text
    assert "does not cover all records of that time" in text
    assert "&lt;script&gt;" in text
    assert '<a href="/decisions/d1">' in text
    assert "first administrator" in text
