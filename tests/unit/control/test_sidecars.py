"""A sidecar's status is kept as it last was."""

import pytest

STATUS = {
    "instance": "i1",
    "channel": "prod",
    "at": "2026-01-31T12:00:00Z",
    "healthy": False,
    "reasons": [{"code": "metadata.stale", "detail": "12 s old"}],
    "release": "sha256:" + "1" * 64,
    "sequence": 3,
    "library": "sha256:" + "2" * 64,
    "opa_digest": "sha256:" + "3" * 64,
    "lease_ttl_seconds": 10,
    "records": {"written": 12, "shipped": 10},
}


def test_the_last_status_is_shown_with_its_age(api):
    api.create_system("payments")
    path = "/api/v1/systems/payments/sidecars/one/status"
    assert api.post(path, json=STATUS).status_code == 200
    (shown,) = api.get("/api/v1/systems/payments/sidecars").json()
    assert shown["condition"] == "unhealthy"
    assert shown["age_seconds"] < 30
    assert shown["reasons"] == STATUS["reasons"]
    healthy = STATUS | {"healthy": True, "reasons": [], "release": None, "sequence": None}
    assert api.post(path, json=healthy).status_code == 200
    (shown,) = api.get("/api/v1/systems/payments/sidecars").json()
    assert (shown["condition"], shown["reasons"], shown["release"]) == ("healthy", [], None)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"at": "yesterday"},
        {"release": "latest"},
        {"healthy": "maybe"},
        {"records": {"written": -1, "shipped": 0}},
        {"x": 1},
    ],
)
def test_a_malformed_status_is_refused(api, spoilt):
    api.create_system("payments")
    answer = api.post("/api/v1/systems/payments/sidecars/one/status", json=STATUS | spoilt)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_a_status_for_an_unknown_system_is_refused(api):
    assert api.post("/api/v1/systems/nobody/sidecars/one/status", json=STATUS).status_code == 404
