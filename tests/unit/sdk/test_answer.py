import json
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placet_sdk import Decision, Denied, Mode, Party, Reason, Subject, WarrantUsed, read_answer, read_response
from tests.unit.sdk.fake import answer, result

PARTY = {"issuer": "https://idp.example.org", "id": "agent-1"}
DENIAL = {"code": "lease.expired", "message": "The lease has expired."}


def read(allow=True, **changes):
    return read_answer({"decision_id": "d-1", "result": result(allow, **changes)})


def test_a_whole_allow_is_read_whole():
    decision = read(
        reasons=[{"code": "policy:noted", "message": ""}],
        obligations=[{"type": "mask", "fields": ["iban"]}],
        subject={
            "issuer": "i", "id": "s", "domain": "d", "actors": [PARTY], "asserted": True, "via": PARTY, "later": 1,
        },
        warrant={"ids": ["w1", "w2"], "issuer": "https://placet.example.org"},
        execution="e-1",
        mode={"kind": "shadow", "id": "m-1", "reasons": [DENIAL]},
        expires_at="2026-01-02T03:04:05.123456789Z",
        later={"members": "are ignored"},
    )  # fmt: skip
    party = Party("https://idp.example.org", "agent-1")
    assert decision == Decision(
        allow=True,
        reasons=(Reason("policy:noted", ""),),
        obligations=({"type": "mask", "fields": ["iban"]},),
        bundles={"policy": "sha256:aa", "library": "sha256:bb"},
        subject=Subject("i", "s", "d", (party,), True, party),
        warrant=WarrantUsed(("w1", "w2"), "https://placet.example.org"),
        execution="e-1",
        mode=Mode("shadow", "m-1", (Reason(**DENIAL),)),
        state="sha256:cc",
        expires_at=datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC),
        decision_id="d-1",
    )
    assert decision


def test_a_denial_says_why():
    decision = read(False, reasons=[DENIAL], subject=None, state=None)
    assert not decision
    assert decision.reasons == (("lease.expired", "The lease has expired."),)
    assert decision.codes == ["lease.expired"]
    assert decision.subject is None


def test_a_decision_cannot_be_changed():
    with pytest.raises(AttributeError):
        read(False).allow = True


@pytest.mark.parametrize("body", [{}, {"result": None}, {"result": {}}, {"decision_id": "d-1"}, {"allow": True}])
def test_no_decision(body):
    assert read_answer(body).codes == ["decision.undefined"]
    assert not read_answer(body)


@pytest.mark.parametrize("body", [None, [], "", 1, True, [result()], "allow"])
def test_an_answer_that_is_no_object(body):
    assert read_answer(body).codes == ["decision.malformed"]


@pytest.mark.parametrize("value", [True, False, 0, 1, "true", [], [True], "allow", [result()]])
def test_a_result_that_is_no_object(value):
    assert read_answer({"decision_id": "d-1", "result": value}).codes == ["decision.malformed"]


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("member", sorted(result()))
def test_no_member_may_be_missing(member, allow):
    whole = result(allow)
    del whole[member]
    assert read_answer({"decision_id": "d-1", "result": whole}).codes == ["decision.malformed"]


WRONG = {
    "allow": [None, 1, "true", [True], {}],
    "reasons": [
        None,
        {},
        "x",
        [None],
        ["x"],
        [{}],
        [{"code": "policy:x"}],
        [{"code": 1, "message": "x"}],
        [{"code": "", "message": "x"}],
        [{"code": "policy:x", "message": None}],
        [DENIAL],
    ],
    "obligations": [None, {}, "x", ["x"], [None], [[]]],
    "bundles": [
        None,
        [],
        {},
        {"policy": "a"},
        {"library": "a"},
        {"policy": "", "library": "a"},
        {"policy": 1, "library": "a"},
        {"policy": "a", "library": "b", "more": None},
    ],
    "subject": [
        None,
        [],
        "s",
        {},
        {"issuer": "i", "id": "s", "domain": "d"},
        {"issuer": "i", "id": "", "domain": "d"},
        {"issuer": "i", "id": "s", "actors": []},
        {"issuer": "i", "id": "s", "domain": "d", "actors": ["x"]},
        {"issuer": "i", "id": "s", "domain": "d", "actors": [], "asserted": "yes"},
        {"issuer": "i", "id": "s", "domain": "d", "actors": [], "via": {}},
    ],
    "warrant": [
        [],
        "w",
        {},
        {"ids": [], "issuer": "i"},
        {"ids": ["w"]},
        {"ids": [""], "issuer": "i"},
        {"ids": [1], "issuer": "i"},
        {"ids": "w", "issuer": "i"},
    ],
    "execution": ["", 1, {}, {"id": "e"}],
    "mode": [
        "shadow",
        {},
        {"kind": "other", "id": "m", "reasons": []},
        {"kind": "shadow", "reasons": []},
        {"kind": "shadow", "id": "m", "reasons": None},
        {"kind": ["shadow"], "id": "m", "reasons": []},
    ],
    "state": [None, "", 1],
    "expires_at": [None, "", 1, "soon", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z"],
}


@pytest.mark.parametrize(("member", "value"), [(member, value) for member in WRONG for value in WRONG[member]])
def test_an_allow_with_a_wrong_member_denies(member, value):
    assert read(**{member: value}).codes == ["decision.malformed"]


def test_a_denial_of_the_agent_may_name_no_bundles():
    assert read(False, bundles={}, subject=None, state=None).codes == ["policy.denied"]
    assert read(False, bundles={"policy": 1}).codes == ["decision.malformed"]


def test_a_mode_never_denies():
    mode = {"kind": "shadow", "id": "m-1", "reasons": [DENIAL]}
    assert read(False, mode=mode).codes == ["decision.malformed"]


def test_a_denial_needs_a_reason():
    assert read(False, reasons=[]).codes == ["decision.malformed"]


@pytest.mark.parametrize("given", [..., None, "", 1])
def test_every_decision_has_an_id(given):
    body = {"decision_id": given, "result": result()}
    assert read_answer({k: v for k, v in body.items() if v is not ...}).codes == ["decision.malformed"]


def test_bytes_are_read_strictly():
    assert read_answer(answer())
    twice = answer().replace(b'"allow": true', b'"allow": false, "allow": true')
    assert read_answer(twice).codes == ["decision.malformed"]
    for raw in [b"", b"{", b"\xff", answer() + b"x", answer().replace(b"d-1", b"\\ud800"), b"\xef\xbb\xbf" + answer()]:
        assert read_answer(raw).codes == ["decision.malformed"], raw
    for value in [b"NaN", b"Infinity", b"1e999", b"9" * 5000, b"[" * 100 + b"]" * 100, b"[" * 100000]:
        assert read_answer(answer()[:-1] + b', "x": ' + value + b"}").codes == ["decision.malformed"], value[:20]


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "request.malformed"), (500, "evaluation.error")]
    + [(status, "decision.malformed") for status in (101, 201, 204, 301, 307, 401, 403, 404, 413, 429, 502, 503)],
)
def test_only_status_200_is_an_answer(status, code):
    assert read_response(status, answer()).codes == [code]
    assert read_response(200, answer())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{\n  "code": "internal_error",\n  "message": "invalid number: number too big"\n}\n', "request.malformed"),
        (b'{"code": "internal_error", "message": "another"}', "evaluation.error"),
        (b'{"message": {"invalid number:": 1}}', "evaluation.error"),
        (b'{"message": "invalid number: 1", "message": "another"}', "evaluation.error"),
        (b'["invalid number:"]', "evaluation.error"),
        (b"invalid number:", "evaluation.error"),
        (b"", "evaluation.error"),
    ],
)
def test_a_number_that_opa_refuses_is_the_callers_fault(body, code):
    assert read_response(500, body).codes == [code]
    assert read_response(200, body).codes != ["request.malformed"]


def test_obligations_must_be_fulfilled():
    decision = read(obligations=[{"type": "mask"}, {"type": "limit", "to": 3}])
    assert decision.fulfilled_by({"mask", "limit", "more"}) == decision
    denied = decision.fulfilled_by({"mask"})
    assert denied.codes == ["obligation.unfulfilled"]
    assert not denied.allow
    assert denied.obligations == decision.obligations
    assert "limit" in denied.reasons[0].message
    assert denied.expires_at is None


def test_one_type_is_not_its_letters():
    assert read(obligations=[{"type": "mask"}]).fulfilled_by("mask")
    assert read(obligations=[{"type": "as"}]).fulfilled_by("mask").codes == ["obligation.unfulfilled"]


def test_a_denial_passes_from_process_to_process():
    denied = pickle.loads(pickle.dumps(Denied(read(False))))
    assert denied.decision == read(False)
    assert "policy.denied" in str(denied)


@pytest.mark.parametrize("obligation", [{}, {"type": None}, {"type": ["mask"]}, {"type": {}}, {"kind": "mask"}])
def test_an_obligation_without_type_is_fulfilled_by_nobody(obligation):
    decision = read(obligations=[obligation]).fulfilled_by({"mask", "None", "(without type)"})
    assert decision.codes == ["obligation.unfulfilled"]


def test_a_denial_stays_as_it_is():
    decision = read(False, obligations=[{"type": "mask"}])
    assert decision.fulfilled_by(()) is decision


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("2026-01-02T03:04:05Z"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*result(), "code", "message", "id", "issuer", "domain", "actors", "policy", "library"]),
            inner, max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(sorted(result())), ANYTHING, max_size=4))
def test_only_the_exact_form_allows(changes):
    decision = read_answer(json.dumps({"decision_id": "d-1", "result": result() | changes}).encode())
    if decision.allow:
        assert changes.get("allow", True) is True
        assert all(reason["code"].startswith("policy:") for reason in changes.get("reasons", []))
        assert decision.subject is not None
    else:
        assert decision.reasons
