"""Impact: decisions of a real OPA under another policy, told before a channel points to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.core.bundle import parse_bundle
from app.core.impact import Change, Impact, Report
from app.local.sigstore import LocalSigstore
from bench import stand
from tests.integration import control_kit, replay_kit
from tests.integration.replay_kit import Kept, Recorder

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

POLICY = """package app.authz

decision := {{"allow": count(reasons) == 0, "reasons": reasons, "obligations": [{{"log": "{level}"}}]}}

reasons contains {{"code": "amount.high", "message": "too much"}} if input.context.amount > {limit}
"""
OLD, NEW = (
    replay_kit.bundle(POLICY.format(limit=limit, level="full"), "app/authz/decision") for limit in ("500", "100")
)
AMOUNTS = [50, 150, 450, 550, 90, 510, 300, 20]


@dataclass(frozen=True)
class Made:
    """Records, by OLD, and what they name."""

    records: list[bytes]
    kept: Kept

    def ids(self, *amounts: int) -> set[str]:
        """The decisions of requests about these amounts."""
        read = [json.loads(raw) for raw in self.records]
        return {one["decision_id"] for one in read if one["input"].get("context", {}).get("amount") in amounts}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    generated = replay_kit.generated_now()
    world, state = generated.WORLD, generated.state()
    with stand.running(replay_kit.opa().binary, replay_kit.composed(OLD), tmp_path_factory.mktemp("recorder")) as opa:
        recorder = Recorder(opa, OLD)
        recorder.write(state)
        for amount in AMOUNTS:
            asked = generated.request(identity={"token": world.identity()}, context={"amount": amount})
            recorder.ask(json.dumps(asked))
        recorder.ask(json.dumps(generated.request(identity={}, context={"amount": 150})))  # nobody: denied before
        records = recorder.records()
    assert len(records) == len(AMOUNTS) + 1
    yield Made(records, recorder.kept)
    replay_kit.opas().close()


def report(made: Made, policy: bytes, records: list[bytes] | None = None) -> dict[str, Any]:
    impact = Impact(policy, Kept({}, made.kept.states), replay_kit.opas().engine)
    found = Report(impact.policy)
    for raw, effect in impact.effects(made.records if records is None else records):
        found.add(raw, effect)
    return found.document()


def test_the_same_policy_changes_nothing(made: Made) -> None:
    found = report(made, OLD)
    assert (found["records"], found["changed"], found["unavailable"]) == (9, 0, 0), found
    assert sum(json.loads(raw)["result"]["allow"] for raw in made.records) == 6


def test_a_stricter_policy_denies_what_it_says_and_no_more(made: Made) -> None:
    found = report(made, NEW)
    assert (found["records"], found["changed"], found["unavailable"]) == (9, 3, 0), found
    [group] = found["groups"]
    assert (group["change"], group["count"], group["reason"]) == (
        "allow-to-deny",
        3,
        "policy.denied,policy:amount.high",
    )
    [*_, nobody] = made.records
    assert set(group["examples"]) == made.ids(150, 450, 300) - {json.loads(nobody)["decision_id"]}
    assert group["action"] == json.loads(made.records[0])["input"]["action"]["name"]
    assert group["issuer"] == json.loads(made.records[0])["result"]["subject"]["issuer"]


@pytest.mark.parametrize(
    ("policy", "change", "count"),
    [
        (POLICY.format(limit="900", level="full"), Change.ALLOWS, 2),
        (POLICY.format(limit="500", level="brief"), Change.OBLIGATIONS, 8),
        (POLICY.format(limit="500", level="full").replace("amount.high", "too.high"), Change.REASONS, 2),
        ("package app.authz\n\ndecision := true if input.context.amount < 0\n", Change.DENIES, 6),
        ("package app.authz\n\ndecision := false if input.context.amount\n\ndecision := true\n", Change.DENIES, 6),
    ],
    ids=["looser", "obligation", "reason", "undefined", "conflict"],
)
def test_what_another_policy_changes(made: Made, policy: str, change: Change, count: int) -> None:
    found = report(made, replay_kit.bundle(policy))
    assert found["changes"][str(change)] == count, found
    assert found["unavailable"] == 0


def test_without_its_trust_state_nobody_can_tell(made: Made) -> None:
    found = report(Made(made.records, Kept({}, {})), NEW)
    assert (found["changed"], found["unavailable"]) == (0, 9)
    assert len(found["why_unavailable"]) == 1


@dataclass(frozen=True)
class Plane:
    """A control plane with both releases, the records and their trust state."""

    running: control_kit.ControlPlane
    bundles: dict[str, Path]
    signer: list[Any]

    def impact(self, *arguments: object, expect: int = 0) -> Any:
        begin, end = datetime.now(UTC) - timedelta(days=8), datetime.now(UTC)
        past = ["--system", "payments", "--since", begin.isoformat(), "--until", end.isoformat()]
        done = self.running.run("decision", "impact", *past, *arguments, "--output", "json", expect=expect)
        return json.loads(done.stdout) if done.stdout else None

    def point(self, bundle: bytes, expect: int = 0) -> str:
        digest = parse_bundle(bundle).digest
        done = self.running.run("channel", "point", "payments", "prod", digest, expect=expect)
        if expect == 0:
            shown = {one["channel"]: one["release"] for one in self.running.json("channel", "show", "payments")}
            assert shown["prod"] == digest
            assert digest in [one["digest"] for one in self.running.json("channel", "releases", "payments")]
        return str(done.stderr)


@pytest.fixture(scope="module")
def plane(made: Made, sigstore: LocalSigstore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    directory = tmp_path_factory.mktemp("plane")
    running: Any = control_kit.ControlPlane(directory / "control", sigstore, replay_kit.opa().binary)
    try:
        token = directory / "identity.jwt"
        token.write_text(sigstore.token("dev@example.org"))
        token.chmod(0o600)
        signer: list[Any] = ["--trust-config", sigstore.trust_config, "--identity-token", token]
        allowed = ["--certificate-identity", "dev@example.org", "--certificate-oidc-issuer", sigstore.issuer_url]
        running.run("system", "create", "payments", *allowed)
        bundles = {}
        for name, raw in (("old", OLD), ("new", NEW)):
            bundles[name] = directory / f"{name}.tar.gz"
            bundles[name].write_bytes(raw)
            control_kit.placet("bundle", "sign", bundles[name], *signer)
            channel = ["--channel", "prod" if name == "old" else "dev"]
            running.run("bundle", "publish", bundles[name], "--system", "payments", *channel, *signer)
        running.take("payments", made.records, made.kept.states)
        yield Plane(running, bundles, signer)
    finally:
        running.stop()


def test_a_release_is_examined_recorded_and_promoted(plane: Plane, made: Made) -> None:
    release = parse_bundle(NEW).digest
    found = plane.impact("--release", release)
    assert (found["policy"], found["records"], found["changed"], found["unavailable"]) == (release, 9, 3, 0)
    assert plane.impact("--bundle", plane.bundles["new"])["groups"] == found["groups"]
    assert plane.impact("--bundle", plane.bundles["new"], "--limit", 2)["records"] == 2
    assert plane.impact("--release", release, "--max-changed", "40%")["changed"] == 3
    plane.impact("--release", release, "--max-changed", "2", expect=3)
    plane.impact("--release", "sha256:" + "0" * 64, expect=1)

    settings = plane.running.json("system", "set", "payments", "--impact-max-changed", "2", "--impact-since", "7d")
    assert settings["impact"] == {
        "required": True,
        "max_changed": 2,
        "max_percent": None,
        "since_seconds": 604800,
    }
    assert "denied: impact.missing: " in plane.point(NEW, expect=3)
    kept = plane.impact("--release", release, "--record")["recorded"]
    assert (kept["complete"], kept["recorded_by"]) == (True, "first administrator")
    assert "denied: impact.exceeded: " in plane.point(NEW, expect=3)
    settings = plane.running.json("system", "set", "payments", "--impact-max-changed", "40%")
    assert settings["impact"]["max_percent"] == 40
    assert settings["impact"]["since_seconds"] == 604800, "what is left out stays"
    plane.point(NEW)
    plane.point(OLD)


def test_replay_of_a_filter_reads_the_feed(plane: Plane, made: Made) -> None:
    done = plane.running.run("decision", "replay", "--system", "payments", "--output", "json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["decision_id"] for one in lines] == [json.loads(raw)["decision_id"] for raw in made.records[::-1]]
    assert {one["verdict"] for one in lines} == {"same"}
    done = plane.running.run("decision", "replay", "--system", "payments", "--limit", 3, "--output", "json")
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--system", "payments"],
        ["--system", "payments", "--release", "x", "--bundle", "y"],
        ["--system", "payments", "--bundle", "nowhere.tar.gz"],
        ["--system", "payments", "--release", "x", "--record", "--limit", "1"],
        ["--system", "payments", "--release", "x", "--since", "soon"],
        ["--system", "payments", "--release", "x", "--since", "2026-01-31T12:00:00"],
        ["--system", "payments", "--release", "x", "--since", "2126-01-31T12:00:00Z"],
        ["--system", "payments", "--release", "x", "--until", "later"],
        ["--system", "payments", "--release", "x", "--max-changed", "101%"],
        ["--system", "payments", "--release", "x", "--max-changed", "few"],
    ],
)
def test_wrong_usage_is_one_line(plane: Plane, arguments: list[str]) -> None:
    done = plane.running.run("decision", "impact", *arguments, expect=2)
    assert done.stderr.strip().count("\n") == 0
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--lineage-limit", "gap=3"],
        ["--lineage-limit", "gap=8d"],
        ["--lineage-limit", "root=15m"],
        ["--lineage-limit", "clock"],
        ["--lineage-limit", "clock=-1"],
        ["--lineage-limit", "clock=0"],
        ["--no-impact", "--impact-since", "7d"],
        ["--impact-max-changed", "most"],
        ["--impact-since", "long"],
    ],
)
def test_wrong_settings_are_one_line(plane: Plane, arguments: list[str]) -> None:
    done = plane.running.run("system", "set", "payments", *arguments, expect=2)
    assert done.stderr.strip().count("\n") == 0
    assert done.stdout == ""


def test_limits_of_breaks_are_set_by_the_command(plane: Plane) -> None:
    limits = plane.running.json(
        "system",
        "set",
        "payments",
        *("--lineage-limit", "clock=3", "--lineage-limit", "opa=never"),
        *("--lineage-limit", "gap=15m", "--lineage-limit", "repeat=2"),
    )
    assert limits["lineage_limits"] == {
        "clock": 3, "opa": "never", "dropped": "at-once", "repeat": 2, "gap": "15m", "fork": "at-once",
    }  # fmt: skip
    assert plane.running.json("system", "set", "payments", "--no-impact")["impact"]["required"] is False
