"""What a system's rules name is in no record, whatever the request is; every answer has its record; replay tells.

Against the real server, since OPA records everything when a mask is undefined, and nothing when it goes wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.core.masking import MaskingRule, for_opa
from app.core.replayed import Verdict
from app.local.tools import installed
from bench import stand
from tests.integration import replay_kit
from tests.integration.test_masking import Tail, json_values

pytestmark = pytest.mark.stack

ISSUER = stand.Issuer()
TOKEN = ISSUER.token()
SECRET = "4111-1111-1111-1111"
KEY = "k" * 64

#: A policy that repeats the context where a rule reaches it, and where it does not.
ECHO = """package echo.authz

decision := {
    "allow": true,
    "obligations": [{"type": "notice", "card": input.context.card}],
    "reasons": [{"code": "seen", "message": input.context.note}],
} if input.context.card
else := {"allow": input.context.amount < 100}
"""

RULES = [
    MaskingRule(path="input/context/card"),
    MaskingRule(path="input/context/items/*/card", how="hash"),
    MaskingRule(path="input/context/any/*"),
    MaskingRule(path="input/context/deep/*/*/x/*", how="hash"),
    MaskingRule(path="input/resource/owner/~1 ~0", how="hash"),
    MaskingRule(path="result/obligations/*/card"),
    MaskingRule(path="result/reasons/*/message", how="hash"),
    MaskingRule(path="result/subject/id", how="hash"),
]


def ruled(rules: list[MaskingRule], **changes: Any) -> dict[str, Any]:
    state = stand.trust_state(ISSUER)
    trust = state["trust"] | {"masking": for_opa(rules)}
    digest, _ = replay_kit.archived(trust)
    return {**state, "trust": trust, "digest": digest, "masking_key": KEY, **changes}


@pytest.fixture(scope="module")
def opa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stand.Server]:
    policy = replay_kit.bundle(ECHO.replace("echo.authz", "app.authz"))
    with stand.running(installed("opa"), replay_kit.composed(policy), tmp_path_factory.mktemp("opa")) as server:
        yield server
    replay_kit.opas().close()


def recorded(opa: stand.Server, asked: Any, path: str = stand.DECISION) -> tuple[int, list[str]]:
    tail = Tail(opa.stderr)
    answer = opa.client.post(path, json={"input": asked}, headers=opa.agent if path != stand.DECISION else {})
    return answer.status_code, tail.lines()


def hashed(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"))
    return f"(masked {hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()})"


#: Values that hold the secret somewhere.
secrets = st.recursive(
    st.just(SECRET),
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.text(max_size=4), inner, min_size=1),
    max_leaves=4,
)
names = st.text(max_size=4) | st.sampled_from(["", "x", "0", "*", "a/b", "~1", "-", "card"])
listed = st.lists(secrets, max_size=70) | st.dictionaries(names, secrets, max_size=70)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "card": secrets,
        "amount": json_values,
        "items": st.lists(st.fixed_dictionaries({}, optional={"card": secrets, "other": json_values}), max_size=70)
        | st.dictionaries(names, st.fixed_dictionaries({"card": secrets}), max_size=3),
        "any": listed,
        "deep": st.dictionaries(names, st.dictionaries(names, st.fixed_dictionaries({"x": listed})), max_size=3),
        "other": json_values,
    },
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(contexts, st.sampled_from([stand.DECISION, "/v1/data/placet/start"]), st.booleans())
@example({"any": [SECRET] * 65}, stand.DECISION, False)
@example({"deep": {str(n): {"a": {"x": [SECRET]}} for n in range(65)}}, stand.DECISION, False)
def test_what_rules_name_is_never_recorded(opa: stand.Server, context: Any, path: str, anonymous: bool) -> None:
    opa.write(ruled(RULES))
    asked = stand.request(None if anonymous else TOKEN, context=context)
    status, lines = recorded(opa, asked, path)
    assert status == 200
    [line] = lines
    assert json.loads(line)["msg"] == "Decision Log"
    assert SECRET not in line
    assert "could not be masked" not in line


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.builds(lambda path: {"path": path, "how": "remove"}, st.lists(names | st.none())) | json_values))
def test_rules_of_any_form_lose_no_record_and_never_show_more(opa: stand.Server, rules: Any) -> None:
    """An agent writes none but vetted ones. What is none keeps everything back."""
    state = ruled([])
    opa.write({**state, "trust": state["trust"] | {"masking": {"input": rules, "result": []}}})
    [line] = recorded(opa, stand.request(TOKEN, context={"amount": 1, "secret": SECRET}))[1]
    record = json.loads(line)
    well_formed = all(
        isinstance(rule, dict)
        and rule.keys() == {"path", "how"}
        and 1 <= len(rule["path"]) <= 8
        and rule["path"][0] is not None
        for rule in rules
    )
    if not well_formed:
        assert record["input"] == record["result"] == "(masked)"
    elif all(rule["path"][0] != "context" for rule in rules):
        assert record["input"]["context"] == {"amount": 1, "secret": SECRET}


def test_each_value_is_replaced_at_its_place(opa: stand.Server) -> None:
    opa.write(ruled(RULES))
    context = {
        "card": SECRET,
        "note": "n",
        "items": [{"card": 7, "a": 1}, {"card": 7}, {}],
        "any": {"a": 1},
        "amount": 1,
    }
    asked = stand.request(TOKEN, context=context, resource={"type": "payment", "id": "p", "owner": {"/ ~": ["ann"]}})
    record = json.loads(recorded(opa, asked)[1][0])
    assert record["input"]["context"] == {
        **context, "card": "(masked)", "items": [{"card": hashed(7), "a": 1}, {"card": hashed(7)}, {}],
        "any": {"a": "(masked)"},
    }  # fmt: skip
    assert record["input"]["resource"] == {"type": "payment", "id": "p", "owner": {"/ ~": hashed(["ann"])}}
    result = record["result"]
    assert result["obligations"] == [{"type": "notice", "card": "(masked)"}]
    assert result["reasons"] == [{"code": "policy:seen", "message": hashed("n")}]
    assert result["subject"]["id"] == hashed("spiffe://example.org/api")
    assert result["allow"] is True


def test_a_start_shows_no_more_of_its_decision(opa: stand.Server) -> None:
    opa.write(ruled([*RULES, MaskingRule(path="result/claims/sub")]))
    asked = stand.request(TOKEN, context={"card": SECRET, "note": "n"}, execution={"id": "e-1"})
    record = json.loads(recorded(opa, asked, "/v1/data/placet/start")[1][0])
    assert record["result"]["decision"]["subject"]["id"] == hashed("spiffe://example.org/api")
    assert record["result"]["decision"]["obligations"][0]["card"] == "(masked)"
    assert record["result"]["claims"]["sub"] == "(masked)"
    assert record["input"]["execution"] == {"id": "e-1"}


def test_before_the_first_trust_state_nothing_of_a_request_is_kept(tmp_path: Path) -> None:
    policy = replay_kit.bundle(ECHO.replace("echo.authz", "app.authz"))
    with stand.running(installed("opa"), replay_kit.composed(policy), tmp_path) as fresh:
        status, [line] = recorded(fresh, stand.request(TOKEN, context={"card": SECRET}, execution={"id": "e-1"}))
    assert status == 200
    record = json.loads(line)
    assert record["input"] == {"(others)": "(masked)", "execution": {"id": "e-1"}}
    assert [reason["code"] for reason in record["result"]["reasons"]] == ["state.missing"]


def test_what_is_masked_does_not_grow_in_the_record(opa: stand.Server) -> None:
    opa.write(ruled([MaskingRule(path=f"input/context/a{n}/*", how="hash") for n in range(16)]))
    context = {f"a{n}": [0] * 1800 for n in range(16)}
    [line] = recorded(opa, stand.request(TOKEN, context=context))[1]
    assert len(line) < 4000


def test_replay_compares_what_is_there_and_says_what_it_cannot(opa: stand.Server) -> None:
    policy = replay_kit.bundle(ECHO.replace("echo.authz", "app.authz"))
    recorder = replay_kit.Recorder(opa, policy)
    before = len(recorder.records())

    def ask(rules: list[MaskingRule], **context: Any) -> None:
        recorder.write(ruled(rules))
        recorder.ask(json.dumps(stand.request(TOKEN, context=context)))

    ask([MaskingRule(path="input/context/phone")], phone=SECRET, amount=7)  # no rule of the policy asks for it
    ask([MaskingRule(path="input/context/amount")], amount=7)
    ask(RULES[-1:], amount=7)
    records = recorder.records()[before:]
    forged = json.loads(records[2])
    forged["result"]["expires_at"] = "2020-01-01T00:00:00Z"
    found = replay_kit.replayed([*records, json.dumps(forged).encode()], recorder.kept)
    assert [(one.verdict, one.detail) for one in found] == [
        (Verdict.SAME, None),
        (Verdict.UNAVAILABLE, "a part of the request was not kept, and the result rests on it"),
        (Verdict.SAME, "what the system's rules keep out was not compared"),
        (Verdict.DIFFERS, "OPA gives another result now"),
    ]
