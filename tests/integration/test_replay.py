"""Replay: records of a real OPA give the same result again; whatever was changed is found, and nothing is guessed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.control import libraries
from app.control.objects import Objects
from app.core.bundle import parse_bundle
from app.core.compose import Library
from app.core.errors import PlacetError
from app.core.replay import Replay
from app.core.replayed import Verdict
from app.local.sigstore import LocalSigstore
from bench import stand
from cli import decision as command
from tests.integration import control_kit, replay_kit
from tests.integration.replay_kit import Kept, Recorder, replayed

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

#: Records of generated decisions. Every twentieth is the start of an execution.
DECISIONS = 3_000
#: Those that share a trust state.
BLOCK = 10

OTHER_POLICY = "package app.authz\n\ndecision := false\n"


@dataclass(frozen=True)
class Made:
    """Records and what they name; `asked`: more of them, by what was asked."""

    records: list[bytes]
    asked: dict[str, bytes]
    kept: Kept

    def record(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.asked[name])
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    generated = replay_kit.generated_now()
    generator, policy = generated.Generator(replay_kit.SEED), replay_kit.bundle(generated.POLICY)
    world, state = generated.WORLD, generated.state()
    directory = tmp_path_factory.mktemp("recorder")
    with stand.running(replay_kit.opa().binary, replay_kit.composed(policy), directory) as opa:
        recorder = Recorder(opa, policy)
        for block in range(DECISIONS // BLOCK):
            told = generator.state(block)
            # A state without a digest cannot be found again. No agent writes one.
            recorder.write(told if told is None or isinstance(told["digest"], str) else state)
            for number in range(block * BLOCK, (block + 1) * BLOCK):
                text = generator.decision(number)
                recorder.ask(text[len('{"input": ') : text.rindex(', "now"')], start=number % 20 == 0)
        records = recorder.records()
        recorder.write(
            state | {"lease": state["lease"] | {"valid_until_ns": state["lease"]["issued_at_ns"] + 5 * 10**11}}
        )
        request = generated.request
        context = {"amount": 40, "currency": "EUR", "numbers": []}
        asked = {
            "allowed": request(identity={"token": world.identity()}, context=context),
            "expired": request(identity={"token": world.identity(exp=world.now - 5)}),
            "warrant": request(identity={"token": world.identity()}, warrant=[world.warrant()], context=context),
            "malformed": request(identity={"token": world.identity(), "x": 1}),
            "anonymous": request(identity={}),
            "cut": request(
                identity={"token": world.identity()}, context=context | {"tags": [world.identity()], "thorough": True}
            ),
            "carrying": request(identity={"token": world.identity(note=world.identity())}, context=context),
            "long": request(identity={"token": world.identity(note="x" * 5600)}, context=context),
            "garbled": request(identity={"token": world.identity().rsplit(".", 1)[0] + ".!"}),
            # Longer than what a record keeps, and shorter than what is refused.
            "brink": request(identity={"token": world.identity(note="x" * 5840)}, context=context),
            "too long": request(identity={"token": world.identity(note="x" * 9000)}, context=context),
        }
        for one in asked.values():
            recorder.ask(json.dumps(one))
        lines = recorder.records()[len(records) :]
    assert len(records) == DECISIONS
    return Made(records, dict(zip(asked, lines, strict=True)), recorder.kept)


@pytest.fixture(scope="module", autouse=True)
def one_opa() -> Iterator[None]:
    """One OPA for all replays here."""
    yield
    replay_kit.opas().close()


def written(record: Any) -> bytes:
    """A record as OPA writes one."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def verdict(record: Any, kept: Any) -> tuple[str, str]:
    """What comes of one record, and why."""
    raw = record if isinstance(record, bytes) else written(record)
    [one] = replayed([raw], kept)
    return str(one.verdict), one.detail or ""


def test_every_kind_of_decision_is_made_again_byte_for_byte(made: Made) -> None:
    found = replayed(made.records, made.kept)
    assert [one.decision_id for one in found] == [json.loads(raw)["decision_id"] for raw in made.records]
    assert [one.line() for one in found if one.verdict is Verdict.DIFFERS] == []
    unavailable = [one.detail for one in found if one.verdict is Verdict.UNAVAILABLE]
    assert set(unavailable) <= {"it names no clock reading", "it names no trust state"}  # starts without a state alone
    assert len(unavailable) < DECISIONS / 100

    # It would be easy to replay the same way about nothing.
    known = {row["code"] for row in json.loads(Path("app/core/reasons.json").read_text()) if row["scope"] == "decision"}
    text = b"".join(made.records).decode()
    missed = {code for code in known if f'"code":"{code}"' not in text}
    assert len(missed) <= 6, missed
    paths = Counter(json.loads(raw)["path"] for raw in made.records)
    assert paths == {"placet/decision": DECISIONS * 19 // 20, "placet/start": DECISIONS // 20}
    assert sum(b'"allow":true' in raw for raw in made.records) > DECISIONS / 20


@pytest.mark.parametrize("name", ["allowed", "expired", "warrant", "malformed", "anonymous", "long", "too long"])
def test_what_was_asked_is_made_again(made: Made, name: str) -> None:
    assert verdict(made.asked[name], made.kept) == ("same", "")


def test_what_was_asked_reaches_what_it_should(made: Made) -> None:
    allowed = {name for name in made.asked if made.record(name)["result"]["allow"]}
    assert allowed == {"allowed", "warrant", "cut", "carrying", "long", "brink"}


Change = Callable[[dict[str, Any]], Any]

RESULTS: dict[str, Change] = {
    "allow": lambda record: record["result"].update(allow=False),
    "sooner": lambda record: record["result"].update(expires_at="2026-01-01T00:00:00Z"),
    "an obligation": lambda record: record["result"]["obligations"].pop(),
    "a number's text": lambda record: record["result"].update(obligations=[1.0]),
    "subject": lambda record: record["result"]["subject"].update(id="spiffe://example.org/other"),
    "policy": lambda record: record["result"]["bundles"].update(policy="sha256:" + "0" * 64),
}


@pytest.mark.parametrize("change", RESULTS.values(), ids=RESULTS)
def test_a_changed_result_is_found(made: Made, change: Change) -> None:
    record = made.record("allowed")
    change(record)
    [one] = replayed([written(record)], made.kept)
    assert one.verdict is Verdict.DIFFERS
    line = json.loads(one.line())
    assert line["reason"] == "replay.differs"
    assert line["recorded"] == record["result"]
    assert line["replayed"] == made.record("allowed")["result"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"result":{"allow":true', b'"result":{"allow":false,"allow":true'),
        (b'"result":{"allow":true', b'"result":{"allow": true'),
        (b'"result":{"allow":true', b'"result":{"\\u0061llow":true'),
        (b'"result":{', b'"result":{"allow":false},"result":{'),
        (b'"input":{', b'"input":{"resource":{"id":"another"},'),
        (b'"nd_builtin_cache":{', b'"nd_builtin_cache":{"time.now_ns":{"[]":1},'),
    ],
)
def test_a_record_that_opa_did_not_write_so_is_found(made: Made, before: bytes, after: bytes) -> None:
    raw = made.asked["allowed"]
    assert raw.count(before) == 1
    assert verdict(raw.replace(before, after), made.kept)[0] == "differs"


def outcome(record: dict[str, Any]) -> Any:
    """The outcomes of signature checks in a record."""
    return record["nd_builtin_cache"]["io.jwt.decode_verify"]


def with_claims(record: dict[str, Any]) -> None:
    """The recorded token with another payload, and the SHA-256 that it had."""
    head, body, sha = record["input"]["identity"]["token"].split(".")
    record["input"]["identity"]["token"] = f"{head}.{body[:-8]}{body[-8:].swapcase()}.{sha}"


INPUTS: dict[str, Change] = {
    "resource": lambda record: record["input"]["resource"].update(id="nothing"),
    "context": lambda record: record["input"]["context"].update(amount=501),
    "outcome": lambda record: outcome(record).update(dict.fromkeys(outcome(record), False)),
    "claims": with_claims,
    "no lease": lambda record: record["nd_builtin_cache"]["placet.lease"].update({"[]": None}),
    "a shorter lease": lambda record: record["nd_builtin_cache"]["placet.lease"]["[]"].update(
        valid_until_ns=record["nd_builtin_cache"]["time.now_ns"]["[]"]
    ),
    # The token has expired by then, whatever outcome the record gives.
    "clock": lambda record: record["nd_builtin_cache"]["time.now_ns"].update(
        {"[]": record["nd_builtin_cache"]["time.now_ns"]["[]"] + 10**13}
    ),
    "start": lambda record: record.update(path="placet/start"),
}


@pytest.mark.parametrize("change", INPUTS.values(), ids=INPUTS)
def test_a_changed_input_is_found(made: Made, change: Change) -> None:
    record = made.record("allowed")
    change(record)
    assert verdict(record, made.kept)[0] in {"differs", "unavailable"}
    if change is not INPUTS["start"]:
        assert verdict(record, made.kept)[0] == "differs"


def test_a_token_that_has_expired_was_not_verified_whatever_the_record_says(made: Made) -> None:
    record = made.record("expired")
    outcome(record).update(dict.fromkeys(outcome(record), True))
    assert verdict(record, made.kept) == ("same", "")  # a denial, as before
    record["result"] = made.record("allowed")["result"]
    assert verdict(record, made.kept)[0] == "differs"


MISSING: dict[str, tuple[Change, str]] = {
    "outcome": (lambda record: outcome(record).clear(), "the outcome of verifying a token"),
    "outcome of another": (
        lambda record: record["nd_builtin_cache"].update({"io.jwt.decode_verify": {"0" * 64: True}}),
        "a token was verified that the record could not keep",
    ),
    "outcomes of another form": (
        lambda record: record["nd_builtin_cache"].update({"io.jwt.decode_verify": {"0" * 64: [True, {}, {}]}}),
        "no decision record that replay can read",
    ),
    "clock": (lambda record: record["nd_builtin_cache"].pop("time.now_ns"), "it names no clock reading"),
    "lease": (lambda record: record["nd_builtin_cache"].pop("placet.lease"), "it does not hold the lease"),
    "path": (lambda record: record.update(path="system/log"), "its path is 'system/log'"),
    "result": (lambda record: record.pop("result"), "it holds no result"),
    "error": (lambda record: record.update(error={"code": "internal_error"}), "OPA answered with an error"),
    "bundle": (lambda record: record.update(bundles={}), "it does not name the bundle"),
    "mask": (lambda record: record.update(input="(could not be masked)"), "it could not be masked"),
}


@pytest.mark.parametrize(("change", "why"), MISSING.values(), ids=MISSING)
def test_what_is_not_in_the_record_is_never_guessed(made: Made, change: Change, why: str) -> None:
    record = made.record("allowed")
    change(record)
    found, detail = verdict(record, made.kept)
    assert (found, why in detail) == ("unavailable", True), detail


def test_a_token_whose_signature_is_none_has_no_outcome(made: Made) -> None:
    assert made.record("garbled")["result"]["reasons"][0]["code"] == "identity.invalid"
    assert "outcome" in verdict(made.asked["garbled"], made.kept)[1]


@pytest.mark.parametrize("name", ["cut", "carrying", "brink"])
def test_tokens_that_no_record_may_hold(made: Made, name: str) -> None:
    found, detail = verdict(made.asked[name], made.kept)
    assert found == "unavailable"
    assert "not kept" in detail or "could not keep" in detail


def test_lines_that_are_no_records(made: Made) -> None:
    for raw in (b"", b"{", b"[]", b'{"path": 7}', b'{"a":' * 3000, b'"\xff"', b"{}"):
        assert verdict(raw, made.kept)[0] == "unavailable"


def test_records_that_are_too_deep_or_no_text(made: Made) -> None:
    raw = made.asked["allowed"]
    deep = raw.replace(b'"numbers":[]', b'"numbers":' + b"[" * 5000 + b"]" * 5000)
    assert verdict(deep, made.kept) == ("unavailable", "the record is nested too deeply")
    assert verdict(raw.replace(b'"EUR"', b'"\xff"'), made.kept)[0] == "unavailable"


def test_other_bundles_and_states_are_found(made: Made) -> None:
    raw, kept = made.asked["allowed"], made.kept
    record = json.loads(raw)
    policy, state = record["result"]["bundles"]["policy"], record["result"]["state"]
    other = replay_kit.bundle(OTHER_POLICY)
    both = Kept(kept.bundles | {parse_bundle(other).digest: other}, kept.states)
    assert verdict(raw, both)[0] == "same"

    revision = record["bundles"]["placet"]["revision"]
    changed = raw.replace(revision.encode(), revision.replace(policy, parse_bundle(other).digest).encode())
    assert verdict(changed, both)[0] == "differs"
    everywhere = raw.replace(policy.encode(), parse_bundle(other).digest.encode())
    assert verdict(everywhere, both)[0] == "differs"
    another = next(digest for digest, raw in kept.states.items() if b'"required":true' in raw)
    assert verdict(made.asked["allowed"].replace(state.encode(), another.encode()), kept)[0] == "differs"

    for gone, why in (
        (Kept({}, kept.states), f"the policy {policy} is not to be had"),
        (Kept({policy: other}, kept.states), f"what is stored as the policy {policy} is "),
        (Kept(kept.bundles, {}), f"the trust state {state} is not to be had"),
        (Kept(kept.bundles, {state: kept.states[another]}), f"what is stored as the trust state {state} is "),
    ):
        found, detail = verdict(raw, gone)
        assert (found, detail.startswith(why)) == ("unavailable", True), detail
    library = record["result"]["bundles"]["library"]
    found, detail = verdict(raw.replace(library.encode(), b"sha256:" + b"1" * 64), kept)
    assert found == "unavailable"
    assert detail.startswith("the library sha256:1111")


def test_a_policy_that_does_not_load_is_one_line(made: Made) -> None:
    policy = replay_kit.bundle("package app.authz\n\ndecision := not_there\n")
    record = made.asked["allowed"].replace(
        made.record("allowed")["result"]["bundles"]["policy"].encode(), parse_bundle(policy).digest.encode()
    )
    with pytest.raises(PlacetError, match=r"OPA does not start on this bundle: .*not_there"):
        verdict(record, replace(made.kept, bundles={parse_bundle(policy).digest: policy}))


MESSAGE = b"The policy denies the request."


@pytest.fixture(scope="module")
def older(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Library, bytes]:
    """A library that said something else, and a record of what it decided."""
    generated = replay_kit.generated_now()
    said = {name: raw.replace(MESSAGE, b"No.") for name, raw in Library.shipped().modules.items()}
    library, policy = Library.of(said), replay_kit.bundle(OTHER_POLICY)
    composed = replay_kit.composed(policy, library)
    with stand.running(replay_kit.opa().binary, composed, tmp_path_factory.mktemp("older")) as opa:
        recorder = Recorder(opa, policy)
        recorder.write(generated.state())
        recorder.ask(json.dumps(generated.request(identity={"token": generated.WORLD.identity()})))
        [record] = recorder.records()
    made.kept.states.update(recorder.kept.states)
    assert json.loads(record)["result"]["reasons"] == [{"code": "policy.denied", "message": "No."}]
    return library, record


def test_a_record_is_made_again_by_the_library_that_it_names(made: Made, older: tuple[Library, bytes]) -> None:
    library, record = older
    policy = replay_kit.bundle(OTHER_POLICY)
    kept = Kept(made.kept.bundles | {parse_bundle(policy).digest: policy}, made.kept.states)
    assert verdict(record, kept) == (
        "unavailable",
        f"the library {library.digest} is not to be had; this version of placet has {Library.shipped().digest}",
    )
    whole = replace(kept, libraries={library.digest: library.written()})
    assert verdict(record, whole) == ("same", "")
    forged = record.replace(b'"message":"No."', b'"message":"%s"' % MESSAGE)  # what this version would say
    assert verdict(forged, whole)[0] == "differs"
    # Records of several libraries in one window, each by its own.
    mixed = [made.asked["allowed"], record, made.asked["expired"], record]
    replay = Replay(whole, replay_kit.opas().engine)
    assert [str(one.verdict) for one in replay.replay(mixed)] == ["same"] * 4
    assert replay.others == {library.digest: 2}

    for raw, why in (
        (Library.shipped().written(), f"what is stored as the library {library.digest} is {Library.shipped().digest}"),
        (library.written() + b" ", f"what is stored as the library {library.digest} is none"),
    ):
        found, detail = verdict(record, replace(kept, libraries={library.digest: raw}))
        assert (found, detail.startswith(why)) == ("unavailable", True), detail


def test_an_auditor_gives_the_library_of_another_version(
    made: Made, older: tuple[Library, bytes], tmp_path: Path
) -> None:
    library, record = older
    (tmp_path / "records").write_bytes(record + b"\n")
    (tmp_path / "bundle.tar.gz").write_bytes(replay_kit.bundle(OTHER_POLICY))
    (tmp_path / "states").mkdir()
    for digest, raw in made.kept.states.items():
        (tmp_path / "states" / f"{digest.removeprefix('sha256:')}.json").write_bytes(raw)
    (tmp_path / "library.json").write_bytes(library.written())
    (tmp_path / "modules").mkdir()
    for name, raw in library.modules.items():
        (tmp_path / "modules" / name).write_bytes(raw)
    names = {"--from-files": "records", "--bundle": "bundle.tar.gz", "--states": "states"}
    options = [word for option, name in names.items() for word in (option, str(tmp_path / name))]
    _, said = run("replay", *options, expect=PlacetError)
    assert said == "replay.unavailable: 1 record could not be replayed"
    for given in ("library.json", "modules"):
        done = control_kit.placet("decision", "replay", *options, "--library", tmp_path / given)
        assert f"1 records by the library {library.digest}, which is not this version's" in done.stderr
    for nothing in ("states", "records", "nowhere"):
        control_kit.placet("decision", "replay", *options, "--library", tmp_path / nothing, expect=2)


@pytest.fixture
def files(made: Made, tmp_path: Path) -> Callable[[list[bytes]], list[str]]:
    """Writes records, bundles and states as an auditor gets them; the options that name them."""

    def write(records: list[bytes]) -> list[str]:
        (tmp_path / "records").write_bytes(
            b"".join(raw + b"\n" for raw in [b'{"level":"info","msg":"hello"}', *records])
        )
        (tmp_path / "states").mkdir(exist_ok=True)
        for digest, raw in made.kept.states.items():
            (tmp_path / "states" / f"{digest.removeprefix('sha256:')}.json").write_bytes(raw)
        [bundle] = made.kept.bundles.values()
        (tmp_path / "bundle.tar.gz").write_bytes(bundle)
        named = {"--from-files": "records", "--bundle": "bundle.tar.gz", "--states": "states"}
        return [word for option, name in named.items() for word in (option, str(tmp_path / name))]

    return write


def run(*arguments: str, expect: type[Exception] | None = None) -> tuple[list[dict[str, Any]], str]:
    """The lines of JSON that `placet decision` prints, and its error."""
    done = CliRunner().invoke(command.app, [*arguments, "--output", "json"])
    assert type(done.exception) is (expect or type(None)), (done.exception, done.output)
    return [json.loads(line) for line in done.stdout.splitlines()], str(done.exception or "")


def test_an_auditor_replays_from_files(made: Made, files: Callable[[list[bytes]], list[str]]) -> None:
    allowed, cut = made.asked["allowed"], made.asked["cut"]
    forged = allowed.replace(b'"allow":true', b'"allow":false')
    lines, _ = run("replay", *files([allowed, made.asked["expired"]]))
    assert [line["verdict"] for line in lines] == ["same", "same"]
    lines, said = run("replay", *files([allowed, cut]), expect=PlacetError)
    assert [line["verdict"] for line in lines] == ["same", "unavailable"]
    assert said == "replay.unavailable: 1 record could not be replayed"
    run("replay", *files([allowed, cut]), "--allow-unavailable")
    done = control_kit.placet("decision", "replay", *files([allowed, forged, cut]), expect=3)
    assert "replay.differs: 1 of 3 records give another result now" in done.stderr
    assert "left out, as they are no decision records: 1 line" in done.stderr
    assert '"allow":false' in done.stdout
    [line], _ = run("replay", made.record("expired")["decision_id"], *files([allowed, forged, made.asked["expired"]]))
    assert line["decision_id"] == made.record("expired")["decision_id"]
    _, said = run("replay", "nobody", *files([allowed]), expect=PlacetError)
    assert said.endswith("records has no record of nobody")


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"],
        ["replay", "an-id", "--system", "payments"],
        ["replay", "--from-files", "nowhere"],
        ["replay", "--from-files", "README.md", "--system", "payments"],
        ["replay", "--from-files", "README.md", "--states", "nowhere"],
        ["replay", "--from-files", "README.md", "--bundle", "nowhere"],
        ["replay", "an-id", "--states", "."],
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str]) -> None:
    done = control_kit.placet("decision", *arguments, expect=2)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_file_without_records_is_no_success(tmp_path: Path) -> None:
    done = control_kit.placet("decision", "replay", "--from-files", "README.md", expect=1)
    assert "there was no decision record to replay" in done.stderr


@pytest.fixture(scope="module")
def plane(made: Made, sigstore: LocalSigstore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A control plane with the release, the trust states and some of the records."""
    directory = tmp_path_factory.mktemp("plane")
    running: Any = control_kit.ControlPlane(directory / "control", sigstore, replay_kit.opa().binary)
    try:
        bundle, token = directory / "bundle.tar.gz", directory / "identity.jwt"
        bundle.write_bytes(next(iter(made.kept.bundles.values())))
        token.write_text(sigstore.token("dev@example.org"))
        token.chmod(0o600)
        signer = ["--trust-config", sigstore.trust_config, "--identity-token", token]
        control_kit.placet("bundle", "sign", bundle, *signer)
        allowed = ["--certificate-identity", "dev@example.org", "--certificate-oidc-issuer", sigstore.issuer_url]
        running.run("system", "create", "payments", *allowed)
        running.run("bundle", "publish", bundle, "--system", "payments", "--channel", "prod", *signer)
        running.take("payments", [*made.records[:250], *made.asked.values()], made.kept.states)
        yield running
    finally:
        running.stop()


def test_decisions_of_a_control_plane_are_listed_shown_and_replayed(
    plane: control_kit.ControlPlane, made: Made
) -> None:
    def lines(*arguments: object, expect: int = 0) -> list[Any]:
        done = plane.run("decision", *arguments, "--output", "json", expect=expect)
        return [json.loads(line) for line in done.stdout.splitlines()]

    listed = lines("list", "--limit", 230)
    assert len(listed) == 230
    assert listed[0]["decision_id"] == made.record("too long")["decision_id"]
    assert {one["outcome"] for one in lines("list", "--outcome", "allow")} == {"allow"}

    identifier = made.record("allowed")["decision_id"]
    assert lines("show", identifier)[0]["record"] == made.record("allowed")
    assert plane.run("decision", "show", identifier, "--record").stdout.encode() == made.asked["allowed"] + b"\n"
    plane.run("decision", "show", "nobody", expect=1)

    assert [one["verdict"] for one in lines("replay", identifier)] == ["same"]
    found = Counter(one["verdict"] for one in lines("replay", "--system", "payments", "--allow-unavailable"))
    assert found.total() == 250 + len(made.asked)
    assert found["differs"] == 0
    assert found["unavailable"] <= 8
    lines("replay", made.record("cut")["decision_id"], expect=1)


def test_a_control_plane_keeps_the_libraries_that_it_ran_with(
    plane: control_kit.ControlPlane, made: Made, older: tuple[Library, bytes], sigstore: LocalSigstore, tmp_path: Path
) -> None:
    library, record = older
    bundle, token = tmp_path / "bundle.tar.gz", tmp_path / "identity.jwt"
    bundle.write_bytes(replay_kit.bundle(OTHER_POLICY))
    token.write_text(sigstore.token("dev@example.org"))
    token.chmod(0o600)
    signer = ["--trust-config", sigstore.trust_config, "--identity-token", token]
    control_kit.placet("bundle", "sign", bundle, *signer)
    plane.run("bundle", "publish", bundle, "--system", "payments", "--channel", "older", *signer)
    state = json.loads(record)["result"]["state"]
    plane.take("payments", [record], {state: made.kept.states[state]}, "f-2")
    identifier = json.loads(record)["decision_id"]
    done = plane.run("decision", "replay", identifier, expect=1)
    assert f"the library {library.digest} is not to be had" in done.stdout
    libraries.keep(Objects(f"file://{plane.directory / 'objects'}"), library)  # as an earlier version did at its start
    done = plane.run("decision", "replay", identifier)
    assert f"1 records by the library {library.digest}, which is not this version's" in done.stderr
