"""Enrolment: a join token is good once and not for long, a bound token at one sidecar alone, none after an eviction."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import select

from app.control import enrolment, lineage, workloads
from app.control.rates import Rate
from app.control.store import ApiToken, Eviction, JoinToken
from app.control.store.columns import now
from app.control.tokens import Access, Scope

from .conftest import record
from .test_access import WELL_KNOWN, routes
from .test_identity_issuer import IDENTITY, SIDECAR_SCOPES, bound_to
from .test_sidecars import STATUS

SIDECARS = "/api/v1/systems/payments/sidecars"
ONE = f"{SIDECARS}/one"


@pytest.fixture(autouse=True)
def system(api, monkeypatch):
    api.create_system("payments")
    monkeypatch.setattr("app.control.api.enrolment.ADDRESSES", Rate(5, 50))  # every test is the same address


def invite(api, sidecar="one", **body):
    answer = api.post(f"{SIDECARS}/{sidecar}/invitations", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["join_token"]


def join(client, join_token, sidecar="one", system="payments"):
    return client.post("/api/v1/join", json={"join_token": join_token, "system": system, "sidecar": sidecar})


def joined(api, anonymous, sidecar="one"):
    return type(api)(anonymous, join(anonymous, invite(api, sidecar), sidecar).json()["token"])


def invitation(api):
    (found,) = api.get("/api/v1/systems/payments/invitations").json()
    return found


def calls(api, sidecar="one", system="payments"):
    """Everything that a sidecar sends, in the name of one."""
    path = f"/api/v1/systems/{system}/sidecars/{sidecar}"
    who = {"issuer": "https://i", "id": "s"}
    warrant = {"jti": "j" * 16, "issuer": "spiffe://placet.internal/control-plane", "uses": 1, "expires_at": 1}
    execution = {"execution": "e", "sidecar": sidecar, "instance": "i1", "subject": who, "warrants": [warrant]}
    return {
        "status": api.post(f"{path}/status", json=STATUS),
        "records": api.ship(record(), system=system, sidecar=sidecar),
        "environment": api.post(f"{path}/environment", json={"evidence": [{"type": "eat", "token": "x"}]}),
        "executions": api.post(f"/api/v1/systems/{system}/executions", json=execution),
        "identity": api.post(f"{path}/identity"),
    }


# ---- joining -----------------------------------------------------------------------------------------------


def test_a_join_token_becomes_a_token_of_that_sidecar_once(api, anonymous):
    text = invite(api)
    assert re.fullmatch(r"placet-join_[0-9a-f]{12}_[\w-]{43}", text)
    assert invitation(api)["status"] == "open"
    answer = join(anonymous, text)
    assert answer.status_code == 201
    assert (answer.json()["system"], answer.json()["sidecar"]) == ("payments", "one")
    assert set(answer.json()["scopes"]) == set(SIDECAR_SCOPES)
    mine = type(api)(anonymous, answer.json()["token"])
    assert mine.post(f"{ONE}/status", json=STATUS).status_code == 200
    assert mine.post(IDENTITY).status_code == 200
    (used,) = [token for token in api.get("/api/v1/tokens").json() if token["sidecar"]]
    assert (used["sidecar"], used["name"]) == ("one", "sidecar one")
    assert (invitation(api)["status"], invitation(api)["api_token"]) == ("used", used["id"])
    assert invitation(api)["used_from"] == "testclient"


def test_a_second_use_is_refused_and_kept(api, anonymous):
    text = invite(api)
    assert join(anonymous, text).status_code == 201
    for times in (1, 2):
        answer = join(anonymous, text)
        assert (answer.status_code, answer.json()["reason"]) == (403, "sidecar.invitation")
        assert answer.json()["detail"].startswith("this join token was used already; ask for another")
        assert "token" not in answer.json()
        found = invitation(api)
        assert (found["refusals"], found["refused_from"], found["status"]) == (times, "testclient", "used")
        assert found["refused_at"] >= found["used_at"]


def test_of_many_who_present_it_at_once_one_gets_a_token(api, anonymous, plane):
    text = invite(api)

    def attempt(number):
        with plane.store.write() as session:
            return enrolment.join(session, text, "payments", "one", f"host-{number}").token is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    with plane.store.read() as session:
        assert len(session.exec(select(ApiToken).where(ApiToken.sidecar == "one")).all()) == 1
        assert session.exec(select(JoinToken)).one().refusals == 7


def test_it_is_for_the_named_sidecar_alone_and_a_wrong_name_does_not_use_it_up(api, anonymous):
    api.create_system("ledger")
    text = invite(api)
    for sidecar, system in (("two", "payments"), ("one", "ledger")):
        answer = join(anonymous, text, sidecar, system)
        assert (answer.status_code, answer.json()["detail"]) == (
            403,
            "this join token is for the sidecar one of payments",
        )
    assert invitation(api)["refusals"] == 2
    assert join(anonymous, text).status_code == 201


def test_it_expires(api, anonymous, plane):
    text = invite(api, expires_in_seconds=1)
    with plane.store.write() as session:
        row = session.exec(select(JoinToken)).one()
        row.expires_at = now() - timedelta(seconds=1)
        session.add(row)
    answer = join(anonymous, text)
    assert (answer.status_code, invitation(api)["status"]) == (403, "expired")
    assert "expired" in answer.json()["detail"]


@pytest.mark.parametrize("seconds", [0, -1, 86401, "10m", None, 1.5])
def test_an_absurd_life_is_refused(api, seconds):
    assert api.post(f"{ONE}/invitations", json={"expires_in_seconds": seconds}).status_code == 422


@pytest.mark.parametrize(
    "text", ["x", "placet-join_", "placet-join__", "placet_a_b", "placet-join_é_x", "placet-join_\0_x", "_" * 256, "\0"]
)
def test_what_is_no_join_token_is_refused(anonymous, text):
    answer = join(anonymous, text)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert answer.json()["reason"] == "sidecar.invitation"


def test_a_wrong_secret_is_refused_and_not_held_against_the_invitation(api, anonymous):
    """Whoever knows an id alone cannot make a noise about it."""
    text = invite(api)
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert join(anonymous, wrong).status_code == 403
    assert (invitation(api)["refusals"], invitation(api)["status"]) == (0, "open")


def test_the_secret_is_not_stored_and_a_join_token_is_no_api_token(api, anonymous, plane):
    text = invite(api)
    with plane.store.read() as session:
        row = session.exec(select(JoinToken)).one()
    assert text.rsplit("_", 1)[1] not in repr(row)
    assert re.fullmatch(r"[0-9a-f]{64}", row.secret_sha256)
    assert text.split("_", 2)[2] not in api.get("/api/v1/systems/payments/invitations").text
    assert anonymous.get("/api/v1/systems", headers={"Authorization": f"Bearer {text}"}).status_code == 401
    assert join(anonymous, api.token).status_code == 403, "nor the other way round"


def test_whoever_invites_must_have_what_the_sidecar_gets(api, anonymous):
    for scopes in (("token:write",), ("token:write", "record:write", "execution:write"), SIDECAR_SCOPES):
        assert api.with_token(*scopes).post(f"{ONE}/invitations", json={}).status_code == 403
    inviter = api.with_token("token:write", *SIDECAR_SCOPES, system="payments")
    text = invite(inviter)
    assert inviter.post("/api/v1/systems/ledger/sidecars/one/invitations", json={}).status_code == 403
    assert api.post("/api/v1/systems/nobody/sidecars/one/invitations", json={}).status_code == 404
    assert api.delete(f"/api/v1/tokens/{inviter.token.split('_')[1]}").status_code == 204
    answer = join(anonymous, text)
    assert (answer.status_code, "whoever invited" in answer.json()["detail"]) == (403, True)


def test_asking_too_often_is_slowed_down(anonymous):
    assert join(anonymous, "x").status_code == 403
    assert 429 in (join(anonymous, "x").status_code for _ in range(1000))


def test_a_large_body_is_refused_unread(anonymous):
    assert anonymous.post("/api/v1/join", content=b" " * 5000).status_code == 413


# ---- a token of one sidecar --------------------------------------------------------------------------------


def test_a_bound_token_is_good_for_its_own_sidecar_alone(api):
    api.create_system("ledger")
    mine = bound_to(api, scopes=SIDECAR_SCOPES)
    own = {name: answer.status_code for name, answer in calls(mine).items()}
    # What is refused with 422 or 403 for its content was let through: the evidence is none, the warrant has expired.
    assert own == {"status": 200, "records": 200, "environment": 422, "executions": 403, "identity": 200}
    assert calls(mine)["executions"].json()["reason"] == "warrant.expired"
    for sidecar, system in (("two", "payments"), ("one", "ledger")):
        for name, answer in calls(mine, sidecar, system).items():
            assert (answer.status_code, "bound to" in answer.json()["detail"]) == (403, True), name


def test_a_bound_token_reaches_no_other_route(api, app):
    """Walks every route: with all scopes that it may have, it is refused wherever its sidecar is not named."""
    mine = bound_to(api, WELL_KNOWN["sidecar"], scopes=SIDECAR_SCOPES)
    for method, path in routes(app):
        if not path.startswith("/api/") or path in {"/api/v1/openapi.json", enrolment.JOIN, workloads.ENROL}:
            continue
        if "/sidecars/one/" in path or path.endswith(("/executions", "/states/" + WELL_KNOWN["digest"])):
            continue
        answer = getattr(mine, method.lower())(path + "?first=0&last=0&instance=i&file=f&issuer=i&subject=s", json={})
        assert answer.status_code in {403, 422}, (method, path, answer.status_code)


def test_a_bound_token_may_not_be_more_than_a_sidecar(api):
    base = {"name": "a", "system": "payments", "sidecar": "one"}
    for scope in ("admin", "token:write", "quarantine:write", "decision:read", "system:read"):
        answer = api.post("/api/v1/tokens", json=base | {"scopes": ["record:write", scope]})
        assert (answer.status_code, scope in answer.json()["detail"]) == (422, True)
    without = {"name": "a", "sidecar": "one", "scopes": ["record:write"]}
    assert api.post("/api/v1/tokens", json=without).status_code == 422
    assert api.post("/api/v1/tokens", json=base | {"scopes": ["record:write"], "sidecar": "One"}).status_code == 422


def test_a_token_of_the_whole_system_goes_on_as_before_but_for_identities(api):
    whole = api.with_token(*SIDECAR_SCOPES, system="payments")
    codes = {name: answer.status_code for name, answer in calls(whole).items()}
    assert codes == {"status": 200, "records": 200, "environment": 422, "executions": 403, "identity": 403}


# ---- eviction ----------------------------------------------------------------------------------------------


def evict(api, sidecar="one", reason="its host was broken into"):
    return api.post(f"{SIDECARS}/{sidecar}/eviction", json={"reason": reason})


def test_nothing_of_an_evicted_sidecar_counts(api, anonymous, plane):
    mine, second = joined(api, anonymous), bound_to(api, scopes=SIDECAR_SCOPES)
    whole = api.with_token(*SIDECAR_SCOPES, system="payments")
    pending = invite(api)
    assert calls(mine)["status"].status_code == 200
    assert evict(api).json()["new"] is True
    for token in (mine, second, whole, api):
        for name, answer in calls(token).items():
            assert answer.status_code == 403, name
            if token in (mine, second) or name != "identity":
                assert answer.json()["reason"] == "sidecar.evicted", name
                assert "its host was broken into" in answer.json()["detail"]
    assert mine.get("/api/v1/openapi.json").status_code == 403, "not even what every token may read"
    assert join(anonymous, pending).status_code == 403
    for asked in (
        api.post(f"{ONE}/invitations", json={}),
        api.post(
            "/api/v1/tokens", json={"name": "a", "scopes": ["record:write"], "system": "payments", "sidecar": "one"}
        ),
    ):
        assert (asked.status_code, asked.json()["reason"]) == (403, "sidecar.evicted")
    assert calls(joined(api, anonymous, "two"), "two")["status"].status_code == 200, "its neighbour goes on"
    with plane.store.read() as session:
        assert enrolment.is_evicted(session, "payments", "one")
        assert not enrolment.is_evicted(session, "payments", "two")


def test_a_session_of_an_evicted_sidecars_token_ends(api, anonymous):
    mine = joined(api, anonymous)
    anonymous.post("/login", data={"token": mine.token})
    evict(api)
    assert anonymous.get("/sidecars").status_code in {303, 403}


def test_a_readmitted_sidecar_must_join_anew(api, anonymous):
    """Its old tokens may be in the hands of whoever was the reason."""
    mine, pending = joined(api, anonymous), invite(api)
    evict(api)
    assert api.delete(f"{ONE}/eviction").json()["readmitted_by"] == "first administrator"
    assert mine.post(f"{ONE}/status", json=STATUS).status_code == 401
    assert join(anonymous, pending).status_code == 403
    again = joined(api, anonymous)
    assert calls(again)["status"].status_code == 200
    assert calls(again)["identity"].status_code == 200
    assert api.delete(f"{ONE}/eviction").status_code == 404


def test_a_join_token_says_whether_its_sidecar_is_evicted_or_was(api, anonymous):
    text = invite(api)
    evict(api)
    answer = join(anonymous, text)
    assert (answer.status_code, answer.json()["reason"]) == (403, "sidecar.evicted")
    assert api.delete(f"{ONE}/eviction").status_code == 200
    answer = join(anonymous, text)
    assert (answer.status_code, answer.json()["reason"]) == (403, "sidecar.invitation")
    assert "is void" in answer.json()["detail"]


def test_evictions_are_kept_and_one_is_in_force_at_a_time(api, plane):
    assert evict(api).json()["new"] is True
    again = evict(api, reason="another reason").json()
    assert (again["new"], again["reason"]) == (False, "its host was broken into")
    api.delete(f"{ONE}/eviction")
    assert evict(api, reason="another reason").json()["reason"] == "another reason"
    with plane.store.read() as session:
        rows = session.exec(select(Eviction).order_by(Eviction.id)).all()
    assert [(row.reason, row.readmitted_at is None) for row in rows] == [
        ("its host was broken into", False),
        ("another reason", True),
    ]


def test_who_may_evict(api, anonymous):
    for scope in ("token:write", "record:write", "system:write"):
        weak = api.with_token(scope)
        assert (evict(weak).status_code, weak.delete(f"{ONE}/eviction").status_code) == (403, 403)
    guard = api.with_token("quarantine:write", system="payments", name="on call")
    assert evict(guard).json()["evicted_by"] == "on call"
    api.create_system("ledger")
    other = f"{ONE}/eviction".replace("payments", "ledger")
    assert guard.post(other, json={"reason": "r"}).status_code == 403
    assert api.post(f"{ONE}/eviction".replace("payments", "nobody"), json={"reason": "r"}).status_code == 404


@pytest.mark.parametrize("reason", ["", "x" * 501, "a\nb", None, 1])
def test_an_eviction_says_why(api, reason):
    assert api.post(f"{ONE}/eviction", json={"reason": reason}).status_code == 422


def test_the_lists_show_who_was_evicted_why_and_by_whom(api, anonymous, installed):
    api.post(f"{ONE}/status", json=STATUS)
    guard = api.with_token("quarantine:write", system="payments", name="on call <b>")
    assert evict(guard).json()["known"]
    assert not evict(guard, "never-seen", reason="<script>").json()["known"]
    shown, unheard = api.get(SIDECARS).json()
    assert (shown["sidecar"], shown["condition"], unheard["condition"]) == ("one", "evicted", "evicted")
    assert (shown["evicted"]["reason"], shown["evicted"]["by"]) == ("its host was broken into", "on call <b>")
    assert shown["instance"] == STATUS["instance"], "what it said last is still there"
    anonymous.post("/login", data={"token": installed.admin_token.read_text().strip()})
    page = anonymous.get("/sidecars").text
    assert "sidecar.evicted" in page
    assert "by on call &lt;b&gt;" in page
    assert "its host was broken into" in page
    assert "never-seen" in page
    assert "<script>" not in page.replace('<script src="', "")
    assert "evicted" in anonymous.get("/systems").text
    api.delete(f"{ONE}/eviction")
    (shown, _) = api.get(SIDECARS).json()
    assert (shown["condition"], shown["evicted"]) == ("unhealthy", None)


def evicted_after(plane, guard, begun):
    """Evict the sidecar `one` while the transaction of `begun` is open: it waits for that one's end."""
    began, done = threading.Event(), threading.Event()

    def evict_now():
        began.set()
        with plane.store.write() as session:
            enrolment.evict(session, guard, "payments", "one", "its host was stolen")
        done.set()

    with plane.store.write() as session:
        begun(session)
        other = threading.Thread(target=evict_now)
        other.start()
        assert began.wait(5)
        assert not done.wait(0.5), "it waits for what was begun"
    other.join(20)
    assert done.is_set()


def test_an_eviction_and_an_ingest_of_the_same_sidecar_come_one_after_the_other(api, plane):
    """Else a batch that asked before is stored after the eviction was answered."""

    def ingest(session):
        lineage.serialise(session, "payments", "one")
        enrolment.require_admitted(session, "payments", "one")

    evicted_after(plane, Access("g", "guard", frozenset({Scope.QUARANTINE_WRITE}), None), ingest)
    with plane.store.read() as session:
        assert enrolment.is_evicted(session, "payments", "one")


def test_who_guesses_join_tokens_keeps_no_writer_waiting_and_waits_for_none(api, anonymous, plane):
    wrong = invite(api)[:-1] + "~"
    with plane.store.write():  # on SQLite, the only writer
        began = time.monotonic()
        for text in (wrong, "placet-join_000000000000_x", "x"):
            answer = join(anonymous, text)
            assert (answer.status_code, answer.json()["detail"]) == (403, "this join token is not known here")
        assert time.monotonic() - began < 5, "less than the wait for a lock"
    assert invitation(api)["refusals"] == 0
