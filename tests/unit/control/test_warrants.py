"""Warrants: issued once and handed out again, approved by somebody else, revoked at once, never stored."""

import json
import threading
import time
from datetime import timedelta

import jwt
import pytest
import sqlalchemy
from sqlmodel import SQLModel

from app.control.keyring import Keyring
from app.control.sidecar_statement import payload_of
from app.control.store import Warrant
from app.control.store.columns import now
from app.core.holder_keys import generate
from app.core.link_names import payload_digest
from app.core.warrant_chain import verify_chain
from app.core.warrant_request import WarrantRequest
from app.core.warrant_trust import WarrantTrust
from app.core.warrants import read

from .warrant_kit import (
    APPROVER,
    AUDIENCE,
    ISSUER,
    OTHER_ISSUER,
    approval,
    ask,
    govern,
    prepared,
    published,
    reason,
    request,
)

WARRANTS = "/api/v1/systems/payments/warrants"


@pytest.fixture
def api(api):
    return prepared(api)


@pytest.fixture
def asks_approval(api):
    govern(api, approval={"required": True, "approvers": [APPROVER]})
    return api


def claims_of(plane, token):
    """The claims of a warrant, verified with what sidecars are told."""
    with plane.store.read() as session:
        keys = Keyring.published(session, "warrant")
    key = jwt.PyJWK(keys[jwt.get_unverified_header(token)["kid"]])
    return jwt.decode(token, key, algorithms=["EdDSA"], audience=AUDIENCE)


def whole(api, identifier):
    answer = api.get(f"{WARRANTS}/{identifier}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_warrant_is_issued_for_the_system_and_verifies_as_a_chain(api, plane):
    cnf = {"jwk": generate().jwk}
    actor = {"issuer": OTHER_ISSUER, "id": "agent-1"}
    answer = ask(api, actor=actor, uses=3, depth=2, cnf=cnf, reason="a ticket")
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    claims = claims_of(plane, body["token"])
    at = time.time()
    assert {"iat": claims.pop("iat") <= at, "exp": abs(claims.pop("exp") - at - 300) < 5} == {"iat": True, "exp": True}
    assert claims == {
        "iss": "spiffe://placet.internal/control-plane",
        "sub": "job-17",
        "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "job-17"},
        "act": {"iss": OTHER_ISSUER, "sub": "agent-1"},
        "aud": AUDIENCE,
        "jti": body["id"],
        "actions": ["refund"],
        "resources": ["payment/*"],
        "constraints": {"amount": {"at_most": 100}},
        "uses": 3,
        "depth": 2,
        "cnf": cnf,
    }
    trust = WarrantTrust.load(api.get("/api/v1/warrant-issuers").content, "the control plane")
    chain = verify_chain([body["token"]], trust, AUDIENCE, time.time())
    assert chain.ids == [body["id"]]
    assert chain.denials("refund", ("payment", "p-1"), {"amount": 40}) == []


def test_a_retry_gets_the_same_warrant_and_another_request_is_refused(api, plane):
    first, again = ask(api, key="k-1"), ask(api, key="k-1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert claims_of(plane, first.json()["token"]) == claims_of(plane, again.json()["token"])
    assert ask(api, key="k-1", actions=["pay"]).status_code == 409
    assert ask(api, key="k-2").json()["id"] != first.json()["id"]
    assert ask(api).json()["id"] != first.json()["id"], "without a key every request is a new one"
    other = api.with_token("warrant:issue")
    assert ask(other, key="k-1").status_code == 201, "keys are each asker's own"
    assert len(api.get(WARRANTS).json()["items"]) == 4


def test_retries_at_the_same_time_make_one_warrant(api, plane):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(api, key="same"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({claims_of(plane, answer.json()["token"])["jti"] for answer in answers}) == 1


#: What is wrong in a request, and what its refusal names.
UNUSABLE = [
    ({"lifetime_seconds": 0}, "lifetime_seconds"),
    ({"lifetime_seconds": 90 * 86400 + 1}, "lifetime_seconds"),
    ({"lifetime_seconds": None}, "lifetime_seconds"),
    ({"lifetime_seconds": "300"}, "lifetime_seconds"),
    ({"actions": []}, "actions"),
    ({"actions": ["a*b"]}, "actions"),
    ({"actions": ["a"] * 33}, "actions"),
    ({"resources": ["payment"]}, "TYPE/ID"),
    ({"resources": ["pay\nment/*"]}, "control characters"),
    ({"subject": {"issuer": ISSUER, "id": "job\0"}}, "control characters"),
    ({"subject": {"issuer": ISSUER}}, "subject.id"),
    ({"subject": {"issuer": "https://nobody.example", "id": "x"}}, "not trusted"),
    ({"actor": {"issuer": "https://nobody.example", "id": "x"}}, "not trusted"),
    ({"constraints": {"amount": {"at_most": True}}}, "constraints"),
    ({"constraints": {"amount": {"about": 1}}}, "constraints"),
    ({"constraints": {"amount": {}}}, "constraints"),
    ({"uses": 0}, "uses"),
    ({"depth": 9}, "depth"),
    ({"not_before": 4_000_000_000}, "before it is valid"),
    ({"cnf": {"jwk": {"kty": "oct", "k": "AAAA"}}}, "cnf"),
    ({"cnf": {"jwk": {**generate().jwk, "d": "AAAA"}}}, "cnf"),
    ({"actions": [f"{number}" + "x" * 500 for number in range(32)]}, "characters long"),
    ({"extra": 1}, "extra"),
]


def test_what_no_sidecar_would_take_is_refused(api):
    for changes, what in UNUSABLE:
        answer = ask(api, **changes)
        assert answer.status_code == 422, (changes, answer.text)
        assert what in answer.json()["detail"], changes
    for key in ("", "a b", "x" * 129, "ä"):
        assert api.post(WARRANTS, json=request(), headers={"Idempotency-Key": key.encode()}).status_code == 422, key
    assert api.get(WARRANTS).json()["items"] == []


def test_names_and_domains_are_those_that_the_issuer_may_vouch_for(api):
    stolen = ask(api, subject={"issuer": ISSUER, "id": "spiffe://placet.internal/x"})
    assert reason(stolen) == (403, "identity.domain")
    assert reason(ask(api, actor={"issuer": ISSUER, "id": "System:ServiceAccount:a:b"})) == (403, "identity.domain")
    body = {"issuer": "https://partner.example", "audiences": ["payments"], "domain": "partner.example"}
    body |= {"jwks": {"keys": [generate().jwk | {"kid": "k"}]}}
    assert api.post("/api/v1/issuers", json=body).status_code == 201
    assert reason(ask(api, subject={"issuer": "https://partner.example", "id": "a"})) == (403, "warrant.domain")
    assert api.post("/api/v1/domains", json={"domain": "partner.example"}).status_code == 201
    assert ask(api, subject={"issuer": "https://partner.example", "id": "a"}).status_code == 201


def test_who_is_in_quarantine_gets_nothing(api):
    actor = {"issuer": OTHER_ISSUER, "id": "agent-1"}
    entry = {"issuer": ISSUER, "subject": "job-17", "reason": "odd"}
    assert api.post("/api/v1/quarantine", json=entry).status_code == 201
    assert reason(ask(api)) == (403, "quarantine.subject")
    assert ask(api, subject=actor).status_code == 201
    entry = {"issuer": OTHER_ISSUER, "subject": "agent-1", "reason": "odd"}
    assert api.post("/api/v1/quarantine", json=entry).status_code == 201
    assert reason(ask(api, subject={"issuer": ISSUER, "id": "b"}, actor=actor)) == (403, "quarantine.actor")


def test_another_system_of_this_control_plane_is_no_audience_but_a_foreign_one_is(api, plane):
    api.create_system("ledger")
    assert ask(api, audience="spiffe://placet.internal/system/ledger").status_code == 403
    foreign = "spiffe://partner.example/system/shop"
    answer = ask(api, audience=foreign, subject={"issuer": "https://known.there", "id": "x"})
    assert read(answer.json()["token"]).claims.aud == foreign
    assert ask(api, system="none").status_code == 404
    bound = api.with_token("warrant:issue", system="payments")
    assert ask(bound, audience=foreign).status_code == 403, "other domains take what this control plane signs"
    assert ask(bound, audience=AUDIENCE).status_code == 201
    assert ask(api.with_token("warrant:issue", system="ledger")).status_code == 403


def test_scopes(api):
    reader = api.with_token("warrant:read")
    identifier = ask(api).json()["id"]
    assert ask(reader).status_code == 403
    assert whole(reader, identifier)["token"] is None, "a reader sees everything but the warrant"
    assert whole(api, identifier)["token"]
    assert reader.delete(f"{WARRANTS}/{identifier}").status_code == 403
    assert api.with_token("warrant:issue").delete(f"{WARRANTS}/{identifier}").status_code == 403
    assert api.with_token("warrant:revoke").delete(f"{WARRANTS}/{identifier}").status_code == 200


# ---- approval ----------------------------------------------------------------------------------------------


def test_nothing_is_issued_before_an_approver_signed(asks_approval, plane):
    api = asks_approval
    answer = ask(api, key="k")
    assert (answer.status_code, answer.json()["status"], answer.json()["token"]) == (202, "pending", None)
    waiting = whole(api, answer.json()["id"])
    assert (waiting["token"], waiting["claims"], waiting["approvals"]) == (None, None, [])
    asked = WarrantRequest.model_validate(request(audience=AUDIENCE))
    assert waiting["request_digest"] == asked.digest("payments", waiting["id"]), "what is signed names the domain"
    evidence = approval(waiting)
    approved = api.post(f"{WARRANTS}/{waiting['id']}/approvals", json={"evidence": evidence})
    assert approved.status_code == 200, approved.text
    assert [one["identity"] for one in approved.json()["approvals"]] == ["lead@example.org"]
    assert approved.json()["token"] is None, "the approver gets no warrant"
    again = ask(api, key="k")
    assert again.status_code == 200
    claims = claims_of(plane, again.json()["token"])
    assert abs(claims["iat"] - time.time()) < 5, "it lasts from the approval on"
    assert claims["approval"] == payload_digest(payload_of(evidence.encode())), "it names what was signed"
    assert api.post(f"{WARRANTS}/{waiting['id']}/approvals", json={"evidence": evidence}).status_code == 200
    assert claims_of(plane, whole(api, waiting["id"])["token"]) == claims_of(plane, again.json()["token"])


def test_a_statement_that_is_no_approval_of_this_request_is_refused(asks_approval):
    waiting = whole(asks_approval, ask(asks_approval).json()["id"])
    for change, expected in (
        ({"signer": {**APPROVER, "identity": "mallory@example.org"}}, "evidence.identity"),
        ({"signer": {**APPROVER, "issuer": "https://elsewhere.example"}}, "evidence.identity"),
        ({"predicate_type": "https://slsa.dev/provenance/v1"}, "evidence.predicate"),
        ({"request": request(actions=["*"])}, "evidence.subject"),
        ({"warrant": "another"}, "evidence.subject"),
        ({"system": "another"}, "evidence.subject"),
        ({"more": 1}, "evidence.subject"),
    ):
        evidence = approval(waiting, **change)
        answer = asks_approval.post(f"{WARRANTS}/{waiting['id']}/approvals", json={"evidence": evidence})
        assert reason(answer) == (422, expected), change
        assert whole(asks_approval, waiting["id"])["status"] == "pending"


def test_an_approval_is_for_one_request_alone(asks_approval):
    first, second = (whole(asks_approval, ask(asks_approval).json()["id"]) for _ in range(2))
    answer = asks_approval.post(f"{WARRANTS}/{second['id']}/approvals", json={"evidence": approval(first)})
    assert reason(answer) == (422, "evidence.subject")


def test_an_approval_at_another_control_plane_is_none_here(asks_approval):
    """One that has a system of the same name, and asked the same approver for the same under the same id."""
    waiting = whole(asks_approval, ask(asks_approval).json()["id"])
    there = {**waiting["request"], "audience": "spiffe://staging.example/system/payments"}
    digest = WarrantRequest.model_validate(there).digest("payments", waiting["id"])
    evidence = approval({**waiting, "request": there, "request_digest": digest})
    answer = asks_approval.post(f"{WARRANTS}/{waiting['id']}/approvals", json={"evidence": evidence})
    assert reason(answer) == (422, "evidence.subject")
    assert waiting["request"]["audience"] == AUDIENCE, "so that the approver sees and signs it"


def test_nothing_is_held_up_while_an_approval_is_verified(asks_approval, plane):
    """And what is true when it is written counts: approvers who were taken out meanwhile approve nothing."""
    api, verify = asks_approval, plane.verify_statement
    first, second = (whole(api, ask(api).json()["id"]) for _ in range(2))

    def meanwhile(raw, **about):
        other = (
            {**APPROVER, "identity": "other@example.org"} if about["subject"] == second["request_digest"] else APPROVER
        )
        govern(api, approval={"required": True, "approvers": [other]})
        return verify(raw, **about)

    object.__setattr__(plane, "verify_statement", meanwhile)
    path = f"{WARRANTS}/%s/approvals"
    assert api.post(path % first["id"], json={"evidence": approval(first)}).status_code == 200
    assert api.post(path % second["id"], json={"evidence": approval(second)}).status_code == 409
    assert whole(api, second["id"])["status"] == "pending"


def test_nobody_approves_their_own(asks_approval):
    own = {"issuer": ISSUER, "id": "lead@example.org"}
    asker = asks_approval.with_token("warrant:issue", "warrant:read", name="Lead@Example.org")
    for who, changes in ((asks_approval, {"subject": own}), (asks_approval, {"actor": own}), (asker, {})):
        waiting = whole(asks_approval, ask(who, **changes).json()["id"])
        answer = asks_approval.post(f"{WARRANTS}/{waiting['id']}/approvals", json={"evidence": approval(waiting)})
        assert reason(answer) == (422, "warrant.unapproved"), changes
        assert whole(asks_approval, waiting["id"])["status"] == "pending"


def test_what_does_not_wait_cannot_be_approved(asks_approval, plane):
    api = asks_approval
    issued, revoked, late = (whole(api, ask(api).json()["id"]) for _ in range(3))
    path = f"{WARRANTS}/%s/approvals"
    assert api.post(path % issued["id"], json={"evidence": approval(issued)}).status_code == 200
    other = approval(issued, signer=APPROVER).replace("{", "{ ", 1)
    assert api.post(path % issued["id"], json={"evidence": other}).status_code == 409
    assert api.delete(f"{WARRANTS}/{revoked['id']}").status_code == 200
    assert api.post(path % revoked["id"], json={"evidence": approval(revoked)}).status_code == 409
    with plane.store.write() as session:
        row = session.get_one(Warrant, late["id"])
        row.created_at = now() - timedelta(days=1, seconds=1)
        session.add(row)
    assert api.post(path % late["id"], json={"evidence": approval(late)}).status_code == 409
    assert {one["id"]: one["status"] for one in api.get(WARRANTS).json()["items"]} == {
        issued["id"]: "issued",
        revoked["id"]: "revoked",
        late["id"]: "expired",
    }
    assert api.post(path % "none", json={"evidence": "{}"}).status_code == 404


# ---- revocation and lists ----------------------------------------------------------------------------------


def test_a_revocation_is_published_when_it_is_answered(api):
    body = ask(api).json()
    answer = api.delete(f"{WARRANTS}/{body['id']}", params={"reason": "lost laptop"})
    assert answer.status_code == 200
    (entry,) = published(api)["revoked_warrants"]
    assert (entry["id"], abs(entry["expires_at"] - time.time() - 300) < 5) == (body["id"], True)
    shown = whole(api, body["id"])
    assert (shown["status"], shown["token"], shown["revocation"]["reason"]) == ("revoked", None, "lost laptop")
    assert api.delete(f"{WARRANTS}/{body['id']}").json()["reason"] == "lost laptop", "the first one stays"
    assert len(published(api)["revoked_warrants"]) == 1


def test_a_retry_after_a_revocation_gets_no_token(api):
    body = ask(api, key="k").json()
    api.delete(f"{WARRANTS}/{body['id']}")
    again = ask(api, key="k").json()
    assert (again["status"], again["token"]) == ("revoked", None)


def test_a_delegated_warrant_is_revoked_by_its_id_and_expiry(api):
    assert api.delete(f"{WARRANTS}/hop-1").status_code == 422, "when it expires must be said"
    far = int(time.time()) + 91 * 86400
    assert api.delete(f"{WARRANTS}/hop-1", params={"expires_at": far}).status_code == 422
    until = int(time.time()) + 600
    assert api.delete(f"{WARRANTS}/hop-1", params={"expires_at": until}).status_code == 200
    assert published(api)["revoked_warrants"] == [{"id": "hop-1", "expires_at": until}]
    assert api.delete(f"{WARRANTS}/hop%201").status_code == 422


def test_a_revocation_that_would_end_too_early_is_mended_by_saying_it_again(api, monkeypatch):
    path, later = f"{WARRANTS}/hop-1", int(time.time()) + 600
    for expires_at in (0, int(time.time()) - 3600):
        assert api.delete(path, params={"expires_at": expires_at}).status_code == 200
        assert published(api)["revoked_warrants"] == []
    monkeypatch.setattr("app.control.revocations.MAX_REVOKED", 1)
    assert api.delete(path, params={"expires_at": later, "reason": "stolen"}).status_code == 200
    assert published(api)["revoked_warrants"] == [{"id": "hop-1", "expires_at": later}]
    for earlier in ({"expires_at": 0}, {}):
        assert api.delete(path, params=earlier).status_code == 200
        assert published(api)["revoked_warrants"] == [{"id": "hop-1", "expires_at": later}], "never shorter"
    assert api.delete(path, params={"expires_at": later + 60}).status_code == 200, "it is listed already"
    assert published(api)["revoked_warrants"] == [{"id": "hop-1", "expires_at": later + 60}]
    assert api.delete(f"{WARRANTS}/hop-2", params={"expires_at": 0}).status_code == 200
    assert api.delete(f"{WARRANTS}/hop-2", params={"expires_at": later}).status_code == 409, "the room is taken"


def test_expired_revocations_are_published_no_more(api, plane):
    past = int(time.time()) - 600
    assert api.delete(f"{WARRANTS}/old", params={"expires_at": past}).status_code == 200
    assert published(api)["revoked_warrants"] == []


def test_more_revocations_than_sidecars_take_are_refused(api, monkeypatch):
    monkeypatch.setattr("app.control.revocations.MAX_REVOKED", 2)
    until = int(time.time()) + 600
    codes = [api.delete(f"{WARRANTS}/h{n}", params={"expires_at": until}).status_code for n in range(3)]
    assert codes == [200, 200, 409]
    assert len(published(api)["revoked_warrants"]) == 2


def test_lists_are_cut_into_pages_and_filtered(api, plane):
    ids = [ask(api, subject={"issuer": ISSUER, "id": f"job-{number}"}).json()["id"] for number in range(5)]
    api.delete(f"{WARRANTS}/{ids[0]}")
    with plane.store.write() as session:  # several at one moment
        for row in session.exec(sqlalchemy.select(Warrant)).scalars():
            row.created_at = now().replace(microsecond=0)
            session.add(row)
    seen, cursor = [], ""
    while True:
        page = api.get(f"{WARRANTS}?limit=2{cursor}").json()
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert (len(seen), set(seen)) == (5, set(ids))
    assert [one["id"] for one in api.get(f"{WARRANTS}?status=revoked").json()["items"]] == [ids[0]]
    assert len(api.get(f"{WARRANTS}?status=issued").json()["items"]) == 4
    assert api.get(f"{WARRANTS}?status=pending").json()["items"] == []
    found = api.get(WARRANTS, params={"subject": f"{ISSUER}#job-3"}).json()["items"]
    assert [one["id"] for one in found] == [ids[3]]
    assert api.get(f"{WARRANTS}?status=odd").status_code == 422
    assert api.get(f"{WARRANTS}?subject=odd").status_code == 422
    for cursor in ("x", "AAAA", "4pyT", "MjAyNg", "MjAyNi0wMS0wMSAA"):
        assert api.get(f"{WARRANTS}?cursor={cursor}").status_code in {200, 422}, cursor


def test_no_token_and_no_key_is_in_the_database_or_in_the_logs(api, plane, installed, caplog):
    caplog.set_level("DEBUG")
    govern(api, approval={"required": True, "approvers": [APPROVER]})
    pending = whole(api, ask(api, key="k", uses=1).json()["id"])
    api.post(f"{WARRANTS}/{pending['id']}/approvals", json={"evidence": approval(pending)})
    token = ask(api, key="k", uses=1).json()["token"]
    stored = []
    with plane.store.engine.connect() as connection:
        for table in SQLModel.metadata.sorted_tables:
            stored += [repr(tuple(row)) for row in connection.execute(sqlalchemy.select(table))]
    everything = "\n".join([*stored, caplog.text])
    assert pending["id"] in everything
    for part in token.split("."):
        assert part not in everything
    for file in (installed.directory / "keys").glob("*.pem"):
        secret = file.read_text().split("\n")[1]
        assert secret not in everything
    assert json.dumps(api.token)[1:-1].split("_")[2] not in everything
