"""A workload enrols as a sidecar by its own identity token: allowed by name, fresh, for the control plane alone."""

import json
import time
from datetime import timedelta

import pytest
from sqlmodel import select

from app.control import workloads
from app.control.rates import Rate
from app.control.store import Allowance, ApiToken, Enrolment, Eviction
from app.control.store.columns import now
from app.control.tokens import SIDECAR_SCOPES

from .test_enrolment import calls, evict
from .test_sidecars import STATUS
from .test_trust import add_issuer, public
from .warrant_kit import ISSUER, KEY, OTHER_ISSUER, OTHER_KEY, govern, identity

OWN = "spiffe://placet.internal/control-plane"
ALLOWANCES = "/api/v1/systems/payments/allowances"
ENROLMENTS = "/api/v1/systems/payments/enrolments"
ONE = "/api/v1/systems/payments/sidecars/one"


@pytest.fixture(autouse=True)
def system(api, monkeypatch):
    api.create_system("payments")
    assert add_issuer(api, public(KEY)).status_code == 201
    assert add_issuer(api, public(OTHER_KEY), issuer=OTHER_ISSUER).status_code == 201
    monkeypatch.setattr("app.control.api.allowances.ADDRESSES", Rate(5, 50))  # every test is the same address
    monkeypatch.setattr("app.control.api.allowances._WORKLOADS", Rate(5, 50))


def allow(api, sidecar="one", system="payments", expect=201, **changes):
    body = {"sidecar": sidecar, "issuer": ISSUER, "subject": "job-17", **changes}
    answer = api.post(f"/api/v1/systems/{system}/allowances", json=body)
    assert answer.status_code == expect, answer.text
    return answer.json()


def token(subject="job-17", **changes):
    return identity(subject, **{"audience": OWN, **changes})


def enrol(client, text=None, sidecar="one", system="payments"):
    body = {"identity_token": token() if text is None else text, "system": system, "sidecar": sidecar}
    return client.post("/api/v1/enrol", json=body)


def enrolled(api, anonymous, text=None, sidecar="one"):
    answer = enrol(anonymous, text, sidecar)
    assert answer.status_code == 201, answer.text
    return type(api)(anonymous, answer.json()["token"])


def refused(answer):
    assert answer.status_code == 403, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "token" not in answer.json()
    return answer.json()["reason"]


def shown(api):
    return {row["id"]: row for row in api.get(ALLOWANCES).json()}


def test_an_allowed_workload_gets_what_a_join_token_gets(api, anonymous, plane):
    made = allow(api)
    assert (made["new"], made["status"], made["allowed_by"]) == (True, "open", "first administrator")
    assert allow(api)["new"] is False
    anonymous.post("/login", data={"token": api.token})
    shown = anonymous.get("/systems/payments").text.split("Workloads that may enrol")[1].split("</section>")[0]
    assert "<td>job-17</td>" in shown and "<td>open</td>" in shown
    anonymous.post("/login", data={"token": api.with_token("system:read").token})
    assert "job-17" not in anonymous.get("/systems/payments").text, "who may not list them does not see them here"
    anonymous.cookies.clear()
    text = token(iss=ISSUER)
    answer = enrol(anonymous, text)
    assert answer.status_code == 201
    assert (answer.json()["system"], answer.json()["sidecar"]) == ("payments", "one")
    assert set(answer.json()["scopes"]) == set(SIDECAR_SCOPES)
    mine = type(api)(anonymous, answer.json()["token"])
    codes = {name: call.status_code for name, call in calls(mine).items()}
    assert codes == {"status": 200, "records": 200, "environment": 422, "executions": 403, "identity": 200}
    assert {call.status_code for call in calls(mine, "two").values()} == {403}, "it is bound to this sidecar"
    (seen,) = api.get(ENROLMENTS).json()
    assert (seen["issuer"], seen["subject"], seen["allowed_by"]) == (ISSUER, "job-17", "first administrator")
    assert (seen["enrolled_from"], seen["api_token"], seen["sidecar"]) == ("testclient", answer.json()["id"], "one")
    assert text not in json.dumps(seen)
    with plane.store.read() as session:
        assert text.split(".")[2] not in repr(session.exec(select(Enrolment)).one())


def test_a_pattern_lets_a_workload_be_several_and_no_others(api, anonymous):
    allow(api, "api-*")
    for name in ("api-1", "api-7d9f4c-x2x"):
        enrolled(api, anonymous, sidecar=name)
    for name in ("one", "ap", "xapi-1"):
        assert refused(enrol(anonymous, sidecar=name)) == "sidecar.not_allowed"
    for pattern in ("*", "a*b", "a**", "A*", "-*", "", "x" * 64, "a\0*"):
        allow(api, pattern, expect=422)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audience": "payments"}, "identity.audience"),
        ({"audience": [OWN, "payments"]}, "identity.audience"),
        ({"audience": "spiffe://other.example/control-plane"}, "identity.audience"),
        ({"audience": None}, "identity.audience"),
        ({"issuer": "https://nobody.example"}, "identity.issuer_unknown"),
        ({"key": OTHER_KEY}, "identity.invalid"),
        ({"kid": "k2"}, "identity.key_unknown"),
        ({"headers": {"jku": "https://x"}}, "identity.malformed"),
        ({"exp": 1}, "identity.expired"),
        ({"exp": None}, "identity.claims"),
        ({"nbf": 3600}, "identity.not_yet_valid"),
        ({"iat": 3600}, "identity.future"),
        ({"iat": None}, "identity.stale"),
        ({"iat": -workloads.MAX_AGE - 60}, "identity.stale"),
        ({"act": {"sub": "agent"}}, "identity.actors"),
        ({"subject": "system:serviceaccount:payments:api"}, "identity.domain"),
        ({"subject": "job-18"}, "sidecar.not_allowed"),
        ({"issuer": OTHER_ISSUER, "key": OTHER_KEY}, "sidecar.not_allowed"),
    ],
)
def test_what_is_wrong_with_a_token_is_said_and_gives_nothing(api, anonymous, plane, changes, reason):
    allow(api)
    # Times are seconds from now.
    changes = changes | {name: time.time() + changes[name] for name in ("iat", "nbf") if changes.get(name)}
    assert refused(enrol(anonymous, token(**changes))) == reason
    with plane.store.read() as session:
        assert session.exec(select(ApiToken).where(ApiToken.sidecar == "one")).all() == []
    assert enrol(anonymous).status_code == 201


@pytest.mark.parametrize("text", ["x", "a.b.c", "\0", "placet-join_a_b", "é.é.é", "." * 100])
def test_what_is_no_identity_token_is_refused(anonymous, text):
    assert refused(enrol(anonymous, text)) == "identity.malformed"


def test_another_system_is_not_allowed_and_one_that_is_not_there_looks_the_same(api, anonymous):
    api.create_system("ledger")
    allow(api)
    said = [enrol(anonymous, system=name).json() for name in ("ledger", "nothing")]
    assert [one["reason"] for one in said] == ["sidecar.not_allowed"] * 2
    assert said[0]["detail"].replace("ledger", "S") == said[1]["detail"].replace("nothing", "S")


def test_the_systems_governance_may_ask_for_fresher_tokens(api, anonymous):
    allow(api)
    govern(api, max_identity_age_seconds=60)
    assert refused(enrol(anonymous, token(iat=int(time.time()) - 90))) == "identity.stale"
    assert enrol(anonymous).status_code == 201


def test_a_subject_in_quarantine_enrols_nowhere(api, anonymous):
    allow(api)
    api.post("/api/v1/quarantine", json={"issuer": ISSUER, "subject": "job-17", "reason": "odd"})
    assert refused(enrol(anonymous)) == "quarantine.subject"


def test_whoever_lost_its_api_token_enrols_anew_and_the_lost_one_ends(api, anonymous):
    allow(api)
    text = token()
    first = enrolled(api, anonymous, text)
    second = enrolled(api, anonymous, text)
    assert first.post(f"{ONE}/status", json=STATUS).status_code == 401
    assert second.post(f"{ONE}/status", json=STATUS).status_code == 200
    assert len(api.get(ENROLMENTS).json()) == 2


def test_a_workload_that_was_disallowed_enrols_no_more_and_its_sidecar_goes_on(api, anonymous):
    made = allow(api)
    mine = enrolled(api, anonymous)
    ended = api.delete(f"{ALLOWANCES}/{made['id']}").json()
    assert (ended["status"], ended["ended_by"]) == ("ended", "first administrator")
    assert refused(enrol(anonymous)) == "sidecar.not_allowed"
    assert mine.post(f"{ONE}/status", json=STATUS).status_code == 200
    row = shown(api)[made["id"]]
    assert (row["refusals"], row["refused_from"]) == (1, "testclient")
    assert api.delete(f"{ALLOWANCES}/{made['id']}").status_code == 404
    assert api.delete(f"{ALLOWANCES}/999").status_code == 404
    assert allow(api)["new"] is True
    assert enrol(anonymous).status_code == 201


def test_an_eviction_ends_what_the_workload_was_allowed_under_every_name_it_may_have(api, anonymous, plane):
    """Who has the sidecar's host has the workload's token, which would make it another sidecar."""
    fixed, pattern, other = allow(api, "api-1"), allow(api, "api-*"), allow(api, "two")
    stolen = token()
    mine, neighbour = (enrolled(api, anonymous, stolen, name) for name in ("api-1", "api-2"))
    evicted_at = evict(api, "api-1").json()["evicted_at"]
    assert (
        mine.post("/api/v1/systems/payments/sidecars/api-1/status", json=STATUS).json()["reason"] == "sidecar.evicted"
    )
    for name in ("api-1", "api-2", "api-3"):
        assert refused(enrol(anonymous, stolen, name)) == "sidecar.evicted"
        assert refused(enrol(anonymous, None, name)) == "sidecar.evicted"
    assert neighbour.post("/api/v1/systems/payments/sidecars/api-2/status", json=STATUS).status_code == 200
    rows = shown(api)
    assert [rows[one["id"]]["status"] for one in (fixed, pattern, other)] == ["evicted", "evicted", "open"]
    assert (rows[fixed["id"]]["evicted"], rows[fixed["id"]]["ended_by"]) == ("api-1", "first administrator")
    assert api.post(ALLOWANCES, json={"sidecar": "api-1", "issuer": ISSUER, "subject": "job-17"}).status_code == 403

    # Allowed again while it is evicted: the others may, it may not.
    again = allow(api, "api-*")
    assert again["not_before"] == evicted_at
    later = token(iat=int(time.time()) + 1)
    assert refused(enrol(anonymous, later, "api-1")) == "sidecar.evicted"
    assert enrol(anonymous, later, "api-3").status_code == 201
    assert refused(enrol(anonymous, stolen, "api-3")) == "identity.stale", "what was stolen with the host stays useless"

    api.delete("/api/v1/systems/payments/sidecars/api-1/eviction")
    assert refused(enrol(anonymous, stolen, "api-1")) == "identity.stale"
    assert enrol(anonymous, later, "api-1").status_code == 201
    assert mine.post("/api/v1/systems/payments/sidecars/api-1/status", json=STATUS).status_code == 401


def test_readmitted_and_not_allowed_again_it_stays_out(api, anonymous):
    allow(api)
    enrolled(api, anonymous)
    evict(api)
    assert api.delete(f"{ONE}/eviction").status_code == 200
    assert refused(enrol(anonymous)) == "sidecar.evicted"


def test_an_eviction_without_a_token_is_looked_at_when_it_enrols(api, anonymous, plane):
    """Between the look without a lock and the transaction that writes."""
    allow(api)
    with plane.store.write() as session:
        session.add(Eviction(system="payments", sidecar="one", reason="r", evicted_by="t", evicted_by_name="t"))
    assert refused(enrol(anonymous)) == "sidecar.evicted"
    with plane.store.read() as session:
        assert session.exec(select(Allowance)).one().refusals == 1


def test_who_may_allow(api):
    for scopes in (("token:write",), ("token:write", "record:write", "execution:write"), SIDECAR_SCOPES):
        allow(api.with_token(*scopes), expect=403)
    mine = api.with_token("token:write", *SIDECAR_SCOPES, system="payments", name="on call")
    assert allow(mine)["allowed_by"] == "on call"
    api.create_system("ledger")
    allow(mine, system="ledger", expect=403)
    allow(api, system="nothing", expect=404)
    other = allow(api, system="ledger")
    assert mine.delete(f"/api/v1/systems/ledger/allowances/{other['id']}").status_code == 403
    assert mine.delete(f"{ALLOWANCES}/{other['id']}").status_code == 404, "nor by the address of its own system"
    for path in (ALLOWANCES, ENROLMENTS):
        assert api.with_token("record:write").get(path).status_code == 403
        assert api.get(path.replace("payments", "nothing")).status_code == 404


def test_an_issuer_must_be_trusted_and_vouch_for_such_a_name(api):
    assert "placet issuer add" in allow(api, issuer="https://nobody.example", expect=422)["detail"]
    assert allow(api, subject="system:serviceaccount:payments:api", expect=403)["reason"] == "identity.domain"
    allow(api, subject="a\nb", expect=422)


def test_asking_too_often_is_slowed_down(api, anonymous, monkeypatch):
    assert refused(enrol(anonymous, "x")) == "identity.malformed"
    assert 429 in (enrol(anonymous, "x").status_code for _ in range(1000))
    monkeypatch.setattr("app.control.api.allowances.ADDRESSES", Rate(1000, 1000))
    monkeypatch.setattr("app.control.api.allowances._WORKLOADS", Rate(0.01, 2))
    allow(api)
    assert [enrol(anonymous).status_code for _ in range(3)] == [201, 201, 429]


def test_a_large_body_is_refused_unread(anonymous):
    assert anonymous.post("/api/v1/enrol", content=b" " * 17000).status_code == 413


def test_who_is_not_allowed_keeps_no_writer_waiting_and_waits_for_none(api, anonymous, plane):
    with plane.store.write():  # on SQLite, the only writer
        began = time.monotonic()
        assert refused(enrol(anonymous)) == "sidecar.not_allowed"
        assert refused(enrol(anonymous, "x")) == "identity.malformed"
        assert time.monotonic() - began < 5, "less than the wait for a lock"


def test_a_token_of_before_the_eviction_is_stale_to_the_second(api, anonymous, plane):
    allow(api)
    with plane.store.write() as session:
        by = {"reason": "r", "evicted_by": "t", "evicted_by_name": "t", "readmitted_at": now()}
        session.add(Eviction(system="payments", sidecar="one", evicted_at=now() + timedelta(seconds=1), **by))
    assert refused(enrol(anonymous)) == "identity.stale"
    assert enrol(anonymous, token(iat=int(time.time()) + 2)).status_code == 201
