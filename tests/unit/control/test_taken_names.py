"""A sidecar's name has one holder: a workload that enrolled as it, or whoever a person invited or gave a token."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlmodel import select

from app.control import allowances, enrolment, workloads
from app.control.rates import Rate
from app.control.store import ApiToken
from app.control.workloads import Presented

from .test_enrolment import invitation, invite, join, joined
from .test_sidecars import STATUS
from .test_workloads import ALLOWANCES, ONE, allow, enrol, enrolled, refused, shown, token
from .test_workloads import system as system


@pytest.fixture(autouse=True)
def _addresses(monkeypatch):
    monkeypatch.setattr("app.control.api.enrolment.ADDRESSES", Rate(5, 50))  # every test is the same address


def by_hand(api, **changes):
    body = {"name": "a", "scopes": ["record:write"], "system": "payments", "sidecar": "one", **changes}
    return api.post("/api/v1/tokens", json=body)


def revoke(api, text):
    assert api.delete(f"/api/v1/tokens/{text.split('_')[1]}").status_code == 204


def works(client):
    return client.post(f"{ONE}/status", json=STATUS).status_code == 200


@pytest.mark.parametrize("how", ["invited", "by hand"])
def test_a_workload_does_not_become_a_sidecar_that_a_person_let_in(api, anonymous, how):
    """Allowed many names by a pattern, it would be a second one of that name, in the first one's lineage."""
    held = joined(api, anonymous) if how == "invited" else type(api)(anonymous, by_hand(api).json()["token"])
    made = allow(api, "o*")
    assert refused(enrol(anonymous)) == "sidecar.taken"
    assert (works(held), shown(api)[made["id"]]["refusals"]) == (True, 1)
    assert enrol(anonymous, sidecar="other").status_code == 201, "names that nobody has it may have"
    revoke(api, held.token)
    assert works(enrolled(api, anonymous))


def test_an_invitation_is_not_redeemed_for_a_name_that_a_workload_has(api, anonymous):
    text = invite(api)
    made = allow(api, "o*")
    mine = enrolled(api, anonymous)
    answer = join(anonymous, text)
    assert refused(answer) == "sidecar.taken"
    assert "job-17" in answer.json()["detail"]
    found = invitation(api)
    assert (found["status"], found["refusals"], found["refused_from"]) == ("open", 1, "testclient")
    assert works(mine)
    assert enrol(anonymous).status_code == 201, "an invitation that is open keeps nobody out"

    api.delete(f"{ALLOWANCES}/{made['id']}")
    [held] = [row for row in api.get("/api/v1/tokens").json() if row["sidecar"]]
    revoke(api, f"_{held['id']}")
    assert join(anonymous, text).status_code == 201


def test_who_invites_or_makes_a_token_is_told_that_a_workload_has_the_name(api, anonymous):
    allow(api)
    mine = enrolled(api, anonymous)
    for answer in (api.post(f"{ONE}/invitations", json={}), by_hand(api)):
        assert refused(answer) == "sidecar.taken"
    assert [row["sidecar"] for row in api.get("/api/v1/tokens").json()] == [None, "one"]
    assert by_hand(api, sidecar="two").status_code == 201
    assert works(mine)


def test_people_may_invite_again_and_whoever_has_the_same_name_elsewhere_is_somebody_else(api, anonymous):
    api.create_system("ledger")
    assert by_hand(api, system="ledger").status_code == 201
    allow(api)
    enrolled(api, anonymous)
    invite(api, "two")
    assert joined(api, anonymous, "two").token != joined(api, anonymous, "two").token, "one lost its directory"


def test_of_both_at_the_same_moment_one_gets_the_name(api, plane):
    allow(api)
    text, shows = invite(api), Presented(token(), "payments", "one", "host")
    with plane.store.read() as session:
        who = workloads.verify(session, plane.settings.domain, shows)

    def attempt(number):
        with plane.store.write() as session:
            if number % 2:
                return enrolment.join(session, text, "payments", "one", "host")
            return workloads.enrol(session, who, shows)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(8)))
    with plane.store.read() as session:
        live = select(ApiToken).where(ApiToken.sidecar == "one", ApiToken.revoked_at.is_(None))
        assert len(session.exec(live).all()) == 1
        assert len(allowances.holders(session, "payments", "one")) == 1
