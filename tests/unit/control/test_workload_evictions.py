"""What an eviction leaves of a workload's allowances and tokens, and that none ends another's sidecar."""

import time

import pytest

from app.control import allowances
from app.control.tokens import Access, Scope
from app.core.warrants import Principal

from .test_enrolment import evict, evicted_after
from .test_sidecars import STATUS
from .test_workloads import ALLOWANCES, ENROLMENTS, ONE, allow, enrol, enrolled, refused, shown, token
from .test_workloads import system as system
from .warrant_kit import ISSUER


def later():
    return token(iat=int(time.time()) + 1)


@pytest.mark.parametrize("name", ["one", "o*"])
def test_a_token_of_before_the_eviction_stays_useless_though_the_allowance_had_ended_before(api, anonymous, name):
    """The sidecar of an allowance that ended goes on, until its host is broken into."""
    stolen = token()
    made = allow(api, name)
    enrolled(api, anonymous, stolen)
    api.delete(f"{ALLOWANCES}/{made['id']}")
    evict(api)
    api.delete(f"{ONE}/eviction")
    for again in (name, "one", "on*"):
        assert allow(api, again)["not_before"]
        assert refused(enrol(anonymous, stolen)) == "identity.stale"
    assert enrol(anonymous, later()).status_code == 201


def test_a_token_of_before_the_eviction_is_nobody_else_by_another_allowance(api, anonymous):
    """Whether that one was there before, or came after, or was given to the name's next workload."""
    stolen, others = token(), token("job-18")
    allow(api), allow(api, "two")
    enrolled(api, anonymous, stolen)
    honest = enrolled(api, anonymous, stolen, "two")
    evict(api)
    allow(api, "three")
    for name in ("two", "three"):
        assert refused(enrol(anonymous, stolen, name)) == "identity.stale"
    assert honest.post("/api/v1/systems/payments/sidecars/two/status", json=STATUS).status_code == 200
    assert enrol(anonymous, later(), "two").status_code == 201

    api.delete(f"{ONE}/eviction")
    allow(api, subject="job-18")
    assert refused(enrol(anonymous, others)) == "identity.stale"


def test_a_workload_that_was_never_allowed_the_evicted_name_goes_on(api, anonymous):
    allow(api), allow(api, "two", subject="job-18")
    text = token("job-18")
    evict(api)
    assert enrol(anonymous, text, "two").status_code == 201


def test_no_other_workload_ends_what_a_sidecar_got(api, anonymous):
    allow(api), allow(api, "o*", subject="job-18")
    mine = enrolled(api, anonymous)
    assert refused(enrol(anonymous, token("job-18"))) == "sidecar.taken"
    assert mine.post(f"{ONE}/status", json=STATUS).status_code == 200
    (row,) = (one for one in shown(api).values() if one["subject"] == "job-18")
    assert row["refusals"] == 1
    (seen,) = api.get(ENROLMENTS).json()
    assert api.delete(f"/api/v1/tokens/{seen['api_token']}").status_code in {200, 204}
    assert enrol(anonymous, token("job-18")).status_code == 201
    assert refused(enrol(anonymous)) == "sidecar.taken"


def test_an_eviction_misses_no_allowance_that_is_being_given(api, plane):
    guard, who = Access("g", "guard", frozenset({Scope.ADMIN}), None), Principal(issuer=ISSUER, id="job-17")
    evicted_after(
        plane, guard, lambda session: allowances.allow(session, guard, plane.settings.domain, "payments", "o*", who)
    )
    assert [row["status"] for row in shown(api).values()] == ["evicted"]
