"""Nothing is for nobody, and every token may do what its scopes and its system say, and no more."""

import itertools
import re

import pytest

from app.control.gate import is_anonymous
from app.control.tokens import Scope

DIGEST = "sha256:" + "0" * 64
WELL_KNOWN = {
    "system": "payments",
    "channel": "prod",
    "digest": DIGEST,
    "sidecar": "one",
    "decision_id": "d1",
    "token_id": "0" * 12,
    "purpose": "warrant",
}


def routes(app):
    """Every (method, address) of the app, path parameters filled in."""
    included = [route.original_router.routes if hasattr(route, "original_router") else [route] for route in app.routes]
    found = []
    for route in itertools.chain(*included):
        path = re.sub(r"\{(\w+)(:path)?\}", lambda match: WELL_KNOWN.get(match[1], "x"), route.path)
        found += [(method, path) for method in sorted(getattr(route, "methods", None) or ()) if method != "HEAD"]
    return found


def test_nothing_is_anonymous_but_tuf_health_exchanges_the_issuer_and_the_login(app, anonymous):
    walked = routes(app)
    assert len(walked) > 30
    known = (
        "/tuf/",
        "/healthz",
        "/readyz",
        "/login",
        "/oauth/token",
        "/oauth/identity-keys",
        "/api/v1/join",
        "/api/v1/enrol",
    )
    for method, path in walked:
        answer = anonymous.request(method, path, json={})
        if is_anonymous(path):
            assert path.startswith((*known, "/.well-known/openid-configuration")), path
            continue
        if path.startswith(("/api/", "/metrics")):
            assert answer.status_code == 401, (method, path, answer.status_code)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"] == "Bearer"
        else:
            assert answer.status_code == 303, (method, path)
            assert answer.headers["location"].startswith("/login"), path


def test_an_unknown_path_is_not_anonymous_either(anonymous):
    assert anonymous.get("/api/v2/anything").status_code == 401
    assert anonymous.get("/docs").headers["location"] == "/login?next=%2Fdocs"
    assert anonymous.get("/openapi.json").status_code == 303


def test_every_api_route_asks_for_a_scope(app, api):
    weak = api.with_token("metrics:read")
    for method, path in routes(app):
        if not path.startswith("/api/") or path == "/api/v1/openapi.json" or is_anonymous(path):
            continue
        answer = getattr(weak, method.lower())(path + "?first=0&last=0&instance=i&file=f&issuer=i&subject=s", json={})
        assert answer.status_code in {403, 422}, (method, path, answer.status_code)
        if answer.status_code == 422:  # the body is judged first; a right one must still be refused
            assert method in {"POST", "PUT"}, path


@pytest.mark.parametrize(
    ("method", "path", "body", "scope"),
    [
        ("post", "/api/v1/systems", {"name": "a", "identities": [{"identity": "i", "issuer": "s"}]}, "system:write"),
        ("post", "/api/v1/quarantine", {"issuer": "i", "subject": "s", "reason": "r"}, "quarantine:write"),
        ("post", "/api/v1/tokens", {"name": "a", "scopes": ["token:write"]}, "token:write"),
        ("put", "/api/v1/systems/payments/channels/prod", {"release": DIGEST}, "channel:write"),
        ("post", "/api/v1/issuers", {"issuer": "i", "audiences": ["a"], "jwks": {}}, "issuer:write"),
        ("get", "/api/v1/decisions", None, "decision:read"),
        ("get", "/metrics", None, "metrics:read"),
        ("get", "/api/v1/systems", None, "system:read"),
    ],
)
def test_a_route_needs_its_own_scope(api, method, path, body, scope):
    others = [str(other) for other in Scope if other not in (Scope.ADMIN, scope)]
    refused = getattr(api.with_token(*others), method)(path, json=body)
    assert (refused.status_code, refused.json()["detail"]) == (403, f"this token lacks the scope {scope}")
    passed = getattr(api.with_token(scope), method)(path, json=body)
    assert passed.status_code in {200, 201, 404, 422}, passed.text  # past the gate: what was asked for may not exist


def test_a_token_bound_to_a_system_may_do_nothing_for_another(api):
    api.create_system("payments")
    api.create_system("ledger")
    bound = api.with_token("admin", system="payments")
    assert bound.get("/api/v1/systems/payments").status_code == 200
    assert bound.get("/api/v1/systems/ledger").status_code == 403
    assert [row["name"] for row in bound.get("/api/v1/systems").json()] == ["payments"]
    assert bound.ship(b"x\n", system="ledger").status_code == 403
    assert bound.publish(system="ledger").status_code == 403
    assert bound.get("/api/v1/decisions?system=ledger").status_code == 403
    # What is everybody's is not its either.
    entry = {"issuer": "i", "subject": "s", "reason": "r"}
    assert bound.post("/api/v1/quarantine", json=entry).status_code == 403
    assert bound.post("/api/v1/systems", json={"name": "x", "identities": [entry]}).status_code in {403, 422}
    assert bound.get("/metrics").status_code == 403


def test_a_token_cannot_give_more_than_it_has(api):
    api.create_system("payments")
    giver = api.with_token("token:write", "record:write")
    assert giver.post("/api/v1/tokens", json={"name": "a", "scopes": ["admin"]}).status_code == 403
    assert giver.post("/api/v1/tokens", json={"name": "a", "scopes": ["decision:read"]}).status_code == 403
    assert giver.post("/api/v1/tokens", json={"name": "a", "scopes": ["record:write"]}).status_code == 201
    bound = api.with_token("admin", system="payments")
    assert bound.post("/api/v1/tokens", json={"name": "a", "scopes": ["record:write"]}).status_code == 403
    narrowed = {"name": "a", "scopes": ["record:write"], "system": "payments"}
    assert bound.post("/api/v1/tokens", json=narrowed).status_code == 201


def test_a_revoked_token_ends_at_once(api):
    other = api.with_token("system:read")
    assert other.get("/api/v1/systems").status_code == 200
    identifier = other.token.split("_")[1]
    assert api.delete(f"/api/v1/tokens/{identifier}").status_code == 204
    assert other.get("/api/v1/systems").status_code == 401
    assert api.delete(f"/api/v1/tokens/{identifier}").status_code == 404


def test_the_last_administrator_stays_and_the_weak_cannot_revoke_the_strong(api):
    first = api.token.split("_")[1]
    assert api.delete(f"/api/v1/tokens/{first}").status_code == 409
    weak = api.with_token("token:write")
    assert weak.delete(f"/api/v1/tokens/{first}").status_code == 403
    second = api.with_token("admin")
    assert second.delete(f"/api/v1/tokens/{first}").status_code == 204


@pytest.mark.parametrize(
    "presented",
    ["", "Bearer", "Bearer x", "Basic placet_a_b", "Bearer placet__", "Bearer placet_a", "Bearer \xff_\xff_\xff"],
)
def test_a_malformed_token_is_no_token(anonymous, presented):
    answer = anonymous.get("/api/v1/systems", headers={"Authorization": presented.encode("latin-1")})
    assert answer.status_code == 401


def test_a_right_id_with_a_wrong_secret_is_no_token(api, anonymous):
    prefix, identifier, secret = api.token.split("_", 2)
    wrong = f"{prefix}_{identifier}_{secret[:-1]}{'A' if secret[-1] != 'A' else 'B'}"
    assert anonymous.get("/api/v1/systems", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401


def test_secrets_are_not_stored(api, plane):
    from sqlmodel import select

    from app.control.store import ApiToken

    with plane.store.read() as session:
        rows = session.exec(select(ApiToken)).all()
    assert rows
    for row in rows:
        assert api.token.split("_", 2)[2] not in repr(row)
        assert re.fullmatch(r"[0-9a-f]{64}", row.secret_sha256)
    assert "secret" not in api.get("/api/v1/tokens").text


def test_the_openapi_document_needs_a_token(api, anonymous):
    assert anonymous.get("/api/v1/openapi.json").status_code == 401
    document = api.with_token("record:write").get("/api/v1/openapi.json").json()
    assert "/api/v1/systems/{system}/releases" in document["paths"]
