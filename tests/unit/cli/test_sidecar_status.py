"""`placet sidecar status`: what the file beside a sidecar says, and that nobody takes a part of it for all."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from cli.sidecar import app

REFUSED = {
    "what": "records",
    "code": "record.unsigned",
    "detail": "status 409: only signed ones",
    "since": "2026-11-27T12:00:00Z",
    "remedy": "Start control plane and sidecar with `--lineage-trust-config`.",
}


@pytest.fixture
def status(tmp_path):
    def run(*more, age=0, **members):
        at = datetime.now(UTC) - timedelta(seconds=age)
        document = {"at": at.isoformat(), "healthy": True, "lease": True, "refused": [], "lease_ttl_seconds": 10}
        (tmp_path / "status.json").write_text(json.dumps({**document, **members}))
        return CliRunner().invoke(app, ["status", "--dir", str(tmp_path), *more])

    return run


def test_a_healthy_one(status):
    found = status("--output", "json")
    assert (found.exit_code, found.stderr) == (0, "")
    document = json.loads(found.stdout)
    assert (document["state"], document["healthy"], document["refused"]) == ("healthy", True, [])


def test_one_whose_records_are_refused_is_not_healthy_and_says_why_since_when_and_what_to_do(status):
    found = status(healthy=False, refused=[REFUSED])
    assert found.exit_code == 1
    assert found.stdout.splitlines()[0].split() == ["state", "refused"]
    assert found.stderr == (
        "the control plane refuses its records since 2026-11-27T12:00:00Z: record.unsigned (status 409: only signed "
        "ones). Start control plane and sidecar with `--lineage-trust-config`.\n"
    )
    found = status("--output", "json", healthy=False, refused=[REFUSED])
    document = json.loads(found.stdout)
    assert (document["state"], document["refused"]) == ("refused", [REFUSED])


def test_a_refusal_without_a_code_says_what_was_answered(status):
    found = status(healthy=False, refused=[{**REFUSED, "code": None, "detail": "status 401: revoked"}])
    assert "since 2026-11-27T12:00:00Z: status 401: revoked. " in found.stderr


@pytest.mark.parametrize(
    ("members", "state"),
    [
        ({"healthy": False, "lease": False}, "no-lease"),
        ({"healthy": False, "lease": False, "refused": [REFUSED]}, "no-lease"),
        ({"age": 60}, "silent"),
        ({"age": -60}, "silent"),  # the clock was set back since
    ],
)
def test_others_that_are_not_healthy(status, members, state):
    found = status("--output", "json", **members)
    document = json.loads(found.stdout)
    assert (found.exit_code, document["state"], document["healthy"]) == (1, state, False)


@pytest.mark.parametrize(
    "members",
    [*({"refused": one} for one in ([{}], [7], 7, {"code": 1})), *({"lease_ttl_seconds": one} for one in ("x", None))],
)
def test_what_is_no_status(status, members):
    found = status(**members)
    assert "is not the status of a sidecar" in str(found.exception)
