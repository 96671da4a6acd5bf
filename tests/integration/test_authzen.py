"""AuthZEN 1.0 before a real OPA: the public todo scenario of the working group's interoperability events, and the rest.

The scenario's policy is written from its description, and its vectors (openid/authzen, interop/authzen-todo-backend,
MIT licence, draft 02: 40 single evaluations and 3 of several) stand here as tables of our own.
"""

from __future__ import annotations

import json
from itertools import product

import pytest

from bench import stand
from tests.integration import edge_kit

pytestmark = [pytest.mark.stack]

GATEWAY = "todo-backend"

#: User: the subject's id (without its common ending), address, roles.
_PEOPLE = {
    "rick": ("CiRmZDA2MTRkMy1j", "rick@the-citadel.com", ["admin", "evil_genius"]),
    "morty": ("CiRmZDE2MTRkMy1j", "morty@the-citadel.com", ["editor"]),
    "summer": ("CiRmZDI2MTRkMy1j", "summer@the-smiths.com", ["editor"]),
    "beth": ("CiRmZDM2MTRkMy1j", "beth@the-smiths.com", ["viewer"]),
    "jerry": ("CiRmZDQ2MTRkMy1j", "jerry@the-smiths.com", ["viewer"]),
}
SUBJECTS = {user: f"{start}MzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs" for user, (start, _, _) in _PEOPLE.items()}
EMAILS = {user: email for user, (_, email, _) in _PEOPLE.items()}

POLICY = {
    "todo/authz.rego": """package todo.authz

# A shared list of todos: everybody reads; editors make todos and change their own; an evil genius changes anybody's,
# an administrator deletes anybody's.
default decision := false

decision if input.action.name in {"can_read_user", "can_read_todos"}

decision if {
	input.action.name == "can_create_todo"
	some role in {"admin", "editor", "evil_genius"}
	role in user.roles
}

decision if {
	input.action.name in {"can_update_todo", "can_delete_todo"}
	"editor" in user.roles
	input.resource.properties.ownerID == user.email
}

decision if {
	input.action.name == "can_update_todo"
	"evil_genius" in user.roles
}

decision if {
	input.action.name == "can_delete_todo"
	"admin" in user.roles
}

user := data.todo.users[data.placet.subject.id]
""",
    "todo/data.json": json.dumps(
        {"users": {SUBJECTS[user]: {"email": email, "roles": roles} for user, (_, email, roles) in _PEOPLE.items()}}
    ),
}

#: User: whether they may create; then, by owner, whether they may update and delete.
WRITES = {
    "rick": (True, {"rick": (True, True), "morty": (True, True)}),
    "morty": (True, {"rick": (False, False), "morty": (True, True)}),
    "summer": (True, {"rick": (False, False), "summer": (True, True)}),
    "beth": (False, {"rick": (False, False), "beth": (False, False)}),
    "jerry": (False, {"rick": (False, False), "jerry": (False, False)}),
}
#: Several at once: user, then whether they may update the todos of these owners.
SEVERAL = [
    ("rick", {"rick": True, "jerry": True}),
    ("morty", {"rick": False, "morty": True}),
    ("jerry", {"rick": False, "jerry": False}),
]


def todo(owner):
    number = {"rick": 2, "morty": 1, "summer": 3, "beth": 4, "jerry": 5}[owner]
    todo_id = f"7240d0db-8ff0-41ec-98b2-34a096273b9{number}"
    return {"type": "todo", "id": todo_id, "properties": {"ownerID": EMAILS[owner]}}


def asked(user, action, resource):
    return {"subject": {"type": "user", "id": SUBJECTS[user]}, "action": {"name": action}, "resource": resource}


def vectors():
    """Each single evaluation of the scenario, and whether it is permitted."""
    for user, (create, owned) in WRITES.items():
        for email in (EMAILS["beth"], EMAILS[user]):
            yield asked(user, "can_read_user", {"type": "user", "id": email}), True
        yield asked(user, "can_read_todos", {"type": "todo", "id": "todo-1"}), True
        yield asked(user, "can_create_todo", {"type": "todo", "id": "todo-1"}), create
        for owner, (update, delete) in owned.items():
            yield asked(user, "can_update_todo", todo(owner)), update
            yield asked(user, "can_delete_todo", todo(owner)), delete


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory):
    with edge_kit.running(tmp_path_factory.mktemp("authzen"), POLICY, "todo/authz/decision", ["todo"]) as running:
        yield running


@pytest.fixture
def granted(sidecar):
    """The backend may name whoever it asks for."""
    sidecar.trust(grants={stand.ISSUER: {GATEWAY: {"assert-subject": True}}})
    yield sidecar.issuer.token(sub=GATEWAY)
    sidecar.trust()


def test_the_public_vectors(sidecar, granted):
    found = [(sidecar.evaluate(request, granted).json()["decision"], expected) for request, expected in vectors()]
    assert len(found) == 40
    assert all(decision is expected for decision, expected in found)
    assert sum(expected for _, expected in found) == 26


def test_the_public_vectors_of_several(sidecar, granted):
    for user, owners in SEVERAL:
        request = asked(user, "can_update_todo", {"type": "todo", "id": "none"})
        request |= {"evaluations": [{"resource": todo(owner)} for owner in owners]}
        answer = sidecar.evaluate(request, granted, "evaluations")
        assert answer.status_code == 200
        assert [one["decision"] for one in answer.json()["evaluations"]] == list(owners.values())


def test_each_user_for_itself_needs_no_grant(sidecar):
    for request, expected in vectors():
        answer = sidecar.evaluate(request, sidecar.issuer.token(sub=request["subject"]["id"]))
        assert answer.json()["decision"] is expected


def test_to_name_another_needs_the_grant(sidecar):
    request = asked("rick", "can_read_todos", {"type": "todo", "id": "todo-1"})
    for caller in (GATEWAY, SUBJECTS["morty"]):
        answer = sidecar.evaluate(request, sidecar.issuer.token(sub=caller))
        assert (answer.status_code, answer.json()["decision"]) == (200, False)
        assert [one["code"] for one in answer.json()["context"]["reasons"]] == ["identity.grant"]


def test_each_evaluation_is_one_record_that_says_asserted(sidecar, granted):
    before = len(sidecar.server.records())
    request = asked("morty", "can_update_todo", todo("morty"))
    sidecar.evaluate(
        {**request, "evaluations": [{"resource": todo(owner)} for owner in EMAILS]}, granted, "evaluations"
    )
    records = sidecar.server.records()[before:]
    assert [record["result"]["allow"] for record in records] == [owner == "morty" for owner in EMAILS]
    for record in records:
        subject = record["result"]["subject"]
        assert (subject["id"], subject["asserted"]) == (SUBJECTS["morty"], True)
        assert granted not in json.dumps(record)
    sidecar.evaluate(request, sidecar.issuer.token(sub=SUBJECTS["morty"]))
    assert "asserted" not in sidecar.server.records()[-1]["result"]["subject"]


def test_what_is_said_of_a_subject_is_context(sidecar, granted):
    request = asked("rick", "can_read_todos", {"type": "todo", "id": "todo-1"})
    request["subject"]["properties"] = {"roles": ["admin"]}
    assert sidecar.evaluate(request, granted).json() == {"decision": True}
    recorded = sidecar.server.records()[-1]["input"]
    assert recorded["context"]["subject"] == {"type": "user", "properties": {"roles": ["admin"]}}
    assert recorded["identity"]["asserted"] == {"id": SUBJECTS["rick"]}


@pytest.mark.parametrize(
    ("semantic", "owners", "decisions"),
    [
        ("execute_all", ["morty", "rick", "morty"], [True, False, True]),
        ("deny_on_first_deny", ["morty", "rick", "morty"], [True, False]),
        ("permit_on_first_permit", ["rick", "morty", "morty"], [False, True]),
    ],
)
def test_semantics(sidecar, granted, semantic, owners, decisions):
    request = asked("morty", "can_update_todo", todo("rick"))
    request |= {
        "evaluations": [{"resource": todo(owner)} for owner in owners],
        "options": {"evaluations_semantic": semantic},
    }
    before = len(sidecar.server.records())
    answer = sidecar.evaluate(request, granted, "evaluations")
    assert [one["decision"] for one in answer.json()["evaluations"]] == decisions
    assert len(sidecar.server.records()) - before == len(decisions)


def test_a_caller_that_does_not_authenticate(sidecar):
    request = asked("rick", "can_read_todos", {"type": "todo", "id": "todo-1"})
    stranger = stand.Issuer("https://stranger.example")
    bad = [
        None,
        "junk",
        sidecar.issuer.token(sub=SUBJECTS["rick"], exp=1),
        sidecar.issuer.token(sub=SUBJECTS["rick"], aud="another"),
        stranger.token(sub=SUBJECTS["rick"]),
        sidecar.issuer.token(sub=SUBJECTS["rick"])[:-8] + "AAAAAAAA",
    ]
    for token, path in product(bad, ("evaluation", "evaluations")):
        answer = sidecar.evaluate({**request, "evaluations": [{}, {}]}, token, path, **{"X-Request-ID": "42"})
        assert answer.status_code == 401, token
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert answer.headers["x-request-id"] == "42"


def test_without_a_lease_everything_is_denied(sidecar):
    request = asked("rick", "can_read_todos", {"type": "todo", "id": "todo-1"})
    token = sidecar.issuer.token(sub=SUBJECTS["rick"])
    state = stand.trust_state(sidecar.issuer)
    sidecar.server.write({**state, "lease": None})
    try:
        answer = sidecar.evaluate(request, token)
        assert (answer.status_code, answer.json()["decision"]) == (200, False)
        assert "lease.missing" in [one["code"] for one in answer.json()["context"]["reasons"]]
    finally:
        sidecar.trust()


def test_names_that_opa_does_not_take_are_a_denial(sidecar, granted):
    """AuthZEN allows any text; what the decision's input does not allow is denied there, and recorded."""
    request = asked("rick", "x" * 60_000, {"type": "todo", "id": "todo-1"})
    answer = sidecar.evaluate(request, granted)
    assert answer.status_code in {200, 400}
    assert answer.status_code == 400 or answer.json()["decision"] is False


def test_what_is_no_question_has_its_code(sidecar, granted):
    request = asked("rick", "can_read_todos", {"type": "todo", "id": "todo-1"})
    for bad in ({**request, "action": {}}, {**request, "resource": 7}, {**request, "context": [1]}):
        answer = sidecar.evaluate(bad, granted)
        assert answer.status_code == 400
        assert answer.text.startswith("request.malformed: ")
    several = sidecar.evaluate({**request, "evaluations": [{}, {"action": {"name": 7}}]}, granted, "evaluations").json()
    assert several["evaluations"][1]["context"]["error"]["message"].startswith("request.malformed: ")
