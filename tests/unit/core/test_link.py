import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import link_form, strict_json
from app.core.errors import Denied
from app.core.link import Link, Place, TrustChange
from app.core.link_names import (
    END,
    ENFORCE,
    RENEWED,
    START,
    STEP,
    WITHDRAWN,
    Ref,
    decision_ref,
    execution_ref,
    payload_digest,
    sidecar_ref,
    warrant_ref,
)  # fmt: skip
from app.core.reason_codes import Reason

A, B, C, D = (f"sha256:{digit * 64}" for digit in "abcd")
SCHEMA = Path(__file__).resolve().parents[3] / "docs" / "trust-change.schema.json"
SIDECAR, INSTANCE, ID = "spiffe://example.org/sidecar/payments/till", "0f" * 16, "0123456789abcdef"
PLACE = Place(SIDECAR, INSTANCE, 7, A, datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC))

STARTED = {
    "execution": ID, "subject": {"issuer": "i", "id": "a"}, "action": "refund",
    "resource": {"type": "payment", "id": "p-1"}, "unresolved": [],
}  # fmt: skip
STEPPED = {"execution": ID, "step": "build", "steps": "3", "facts": {"exit": "0"}, "unresolved": []}
ENDED = {"execution": ID, "outcome": "completed", "reason": None, "steps": "3"}
START_OF = [Ref("decision/d-1", A), Ref("warrant/w-1", B), Ref("policy", C), Ref("library", D), Ref("state", A)]
BEFORE = [Ref("link/execution/start", B)]
RELEASE = [Ref("policy", A), Ref("library", B), Ref("opa", C), Ref("evidence/https://slsa.dev/provenance/v1", D)]

LINKS = {
    START: Link.make(PLACE, START, STARTED, materials=[*START_OF, Ref("link/release/enforce", C)]),
    STEP: Link.make(
        PLACE, STEP, STEPPED, command=["make", "all"], products=[Ref("artifact/out", A)],
        materials=[
            *BEFORE, Ref("decision/d-2", A), Ref("artifact/in", B), Ref("link/parent", C), Ref("link/parent", D),
        ],
    ),
    END: Link.make(PLACE, END, ENDED, materials=[Ref("link/execution/step", A)]),
    ENFORCE: Link.make(
        PLACE, ENFORCE, {"channel": "prod", "sequence": "9"}, materials=RELEASE, about=Ref("revision", D)
    ),
    WITHDRAWN: Link.make(PLACE, WITHDRAWN, {"reason": "clock.jump", "detail": "it jumped"}),
    RENEWED: Link.make(PLACE, RENEWED, {"reason": None, "detail": ""}),
}  # fmt: skip
CHANGE = TrustChange(PLACE, A, B, ("modes", "quarantine"))


def denial(call, *arguments, **named):
    with pytest.raises(Denied) as denied:
        call(*arguments, **named)
    assert denied.value.reason == Reason.LINK_MALFORMED
    assert "\n" not in str(denied.value)
    return str(denied.value)


def test_the_statement_is_as_documented():
    raw = LINKS[STEP].statement()
    assert json.loads(raw) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": f"execution/{ID}",
                "digest": {"sha256": sha256(f"{SIDECAR}\n{INSTANCE}\n{ID}".encode()).hexdigest()},
            },
            {"name": "artifact/out", "digest": {"sha256": "a" * 64}},
        ],
        "predicateType": "https://in-toto.io/attestation/link/v0.3",
        "predicate": {
            "name": "execution/step",
            "command": ["make", "all"],
            "materials": [
                {"name": "artifact/in", "digest": {"sha256": "b" * 64}},
                {"name": "decision/d-2", "digest": {"sha256": "a" * 64}},
                {"name": "link/execution/start", "digest": {"sha256": "b" * 64}},
                {"name": "link/parent", "digest": {"sha256": "c" * 64}},
                {"name": "link/parent", "digest": {"sha256": "d" * 64}},
            ],
            "byproducts": STEPPED,
            "environment": {
                "sidecar": SIDECAR, "instance": INSTANCE, "number": "7", "previous": A, "at": "2026-11-26T01:02:03Z",
            },
        },
    }  # fmt: skip
    assert raw == strict_json.canonical(json.loads(raw))


def test_a_trust_change_is_as_documented():
    raw = CHANGE.statement()
    assert json.loads(raw)["predicateType"] == "https://placet.dev/trust-change/v1"
    assert json.loads(raw)["subject"] == [{"name": "trust-state", "digest": {"sha256": "b" * 64}}]
    assert json.loads(raw)["predicate"] == {
        "environment": json.loads(LINKS[STEP].statement())["predicate"]["environment"],
        "from": A, "to": B, "changed": ["modes", "quarantine"],
    }  # fmt: skip


def test_the_schema_in_the_documentation_is_the_one_that_is_checked():
    """To write it anew: print(json.dumps(link_form.trust_change_schema(), indent=2))."""
    assert json.loads(SCHEMA.read_text()) == link_form.trust_change_schema()


@pytest.mark.parametrize("kind", LINKS)
def test_it_reads_what_it_wrote(kind):
    link = LINKS[kind]
    assert Link.read(link.statement()) == link
    assert (link.kind, link.sidecar, link.instance, link.number, link.previous) == (kind, SIDECAR, INSTANCE, 7, A)
    first = replace(link, place=replace(PLACE, number=0, previous=None))
    assert Link.read(first.statement()) == first


def test_it_reads_a_trust_change():
    first = replace(CHANGE, old=None)
    assert Link.read(CHANGE.statement()) == CHANGE
    assert Link.read(first.statement()) == first
    assert (CHANGE.kind, CHANGE.execution, CHANGE.materials, first.materials) == (
        "trust/change", None, (Ref("state", A),), (),
    )  # fmt: skip


def test_what_a_link_names():
    step, start = LINKS[STEP], LINKS[START]
    assert (step.execution, start.execution, LINKS[ENFORCE].execution) == (ID, ID, None)
    assert (step.before, start.before) == (B, None)
    again = Link.make(PLACE, START, STARTED, materials=[*START_OF, Ref("link/execution/step", D)])
    assert (again.before, again.decisions) == (D, {"d-1": A})
    assert (step.decisions, start.decisions) == ({"d-2": A}, {"d-1": A})
    assert step.products == (Ref("artifact/out", A),)
    assert step.subject[0] == execution_ref(SIDECAR, INSTANCE, ID)
    assert LINKS[RENEWED].subject == (sidecar_ref(SIDECAR, INSTANCE),)
    assert sidecar_ref(SIDECAR, INSTANCE).digest == payload_digest(f"{SIDECAR}\n{INSTANCE}".encode())
    assert decision_ref("d", b"\xab" * 32) == Ref("decision/d", "sha256:" + "ab" * 32)
    assert warrant_ref("w", "a.b.c") == Ref("warrant/w", payload_digest(b"a.b.c"))


def changed(link, **members):
    return replace(link, **members).statement()


def said(link, **members):
    return changed(link, byproducts={**link.byproducts, **members})


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (changed(LINKS[STEP], kind="execution/stop"), "name"),
        (changed(LINKS[STEP], materials=()), "0 of"),
        (changed(LINKS[STEP], materials=tuple(reversed(LINKS[STEP].materials))), "not sorted"),
        (changed(LINKS[STEP], materials=(Ref("artifact/a", A), Ref("artifact/a", B), *BEFORE)), "one name"),
        (changed(LINKS[STEP], materials=(*BEFORE, Ref("policy", A))), "no such materials"),
        (changed(LINKS[STEP], materials=(Ref("artifact/", A), *BEFORE)), "no such materials|or nothing"),
        (changed(LINKS[STEP], materials=(Ref("artifact/\u202ea", A), *BEFORE)), "terminal"),
        (changed(LINKS[STEP], materials=(Ref("artifact/a\nb", A), *BEFORE)), "materials"),
        (changed(LINKS[STEP], materials=(Ref("artifact/a", "sha256:a"), *BEFORE)), "materials"),
        (changed(LINKS[STEP], subject=LINKS[STEP].subject[1:]), "the subject is not"),
        (changed(LINKS[STEP], subject=()), "subject"),
        (changed(LINKS[STEP], subject=(*LINKS[STEP].subject, Ref("policy", A))), "products"),
        (changed(LINKS[STEP], command=("x" * 5000,)), "command"),
        (changed(LINKS[STEP], place=replace(PLACE, instance="1f" * 16)), "the subject is not"),
        (changed(LINKS[STEP], place=replace(PLACE, number=0)), "none before it"),
        (changed(LINKS[STEP], place=replace(PLACE, previous=None)), "none before it"),
        (changed(LINKS[STEP], place=replace(PLACE, sidecar="spiffe://example.org/workload/a")), "sidecar"),
        (said(LINKS[STEP], steps="0"), "steps"),
        (said(LINKS[STEP], steps="1001"), "steps"),
        (said(LINKS[STEP], steps=3), "steps"),
        (said(LINKS[STEP], steps="03"), "steps"),
        (said(LINKS[STEP], step="a b"), "step"),
        (said(LINKS[STEP], facts={"a": 1}), "facts"),
        (said(LINKS[STEP], facts={f"f{number}": "" for number in range(17)}), "facts"),
        (said(LINKS[STEP], unresolved=["d-2"]), "named twice"),
        (said(LINKS[STEP], unresolved=["e", "d"]), "not sorted"),
        (said(LINKS[STEP], more=1), "more"),
        (said(LINKS[STEP], execution="short"), "execution"),
        (changed(LINKS[START], materials=LINKS[START].materials[1:]), "one decision"),
        (said(LINKS[START], unresolved=["d-9"]), "one decision"),
        (changed(LINKS[START], materials=(Ref("approval/w9", A), *LINKS[START].materials)), "an approval is of"),
        (said(LINKS[START], workflow=""), "workflow"),
        (said(LINKS[START], workflow=None), "workflow"),
        (changed(LINKS[START], command=("true",)), "command"),
        (changed(LINKS[START], materials=tuple(one for one in LINKS[START].materials if one.name != "state")), "state"),
        (said(LINKS[END], outcome="stopped"), "reason"),
        (said(LINKS[END], reason="agent.failed"), "reason"),
        (said(LINKS[END], outcome="gone"), "outcome"),
        (changed(LINKS[END], materials=()), "0 of"),
        (changed(LINKS[END], materials=(*LINKS[END].materials, Ref("state", A))), "only what was stopped"),
        (changed(LINKS[ENFORCE], subject=(Ref("bundle", A),)), "revision"),
        (changed(LINKS[ENFORCE], materials=LINKS[ENFORCE].materials[1:]), "evidence"),
        (said(LINKS[WITHDRAWN], reason=None), "reason"),
        (said(LINKS[RENEWED], reason="clock.jump"), "reason"),
        (changed(LINKS[RENEWED], subject=(sidecar_ref(SIDECAR, "1f" * 16),)), "subject"),
        (changed(LINKS[RENEWED], materials=(Ref("state", A),)), "no such materials"),
        (changed(CHANGE, changed=()), "changed"),
        (changed(CHANGE, changed=("b", "a")), "not sorted"),
        (changed(CHANGE, new=A), "nothing changed"),
        (changed(CHANGE, new="sha256:x"), "to"),
    ],
)  # fmt: skip
def test_what_is_no_statement(raw, told):
    detail = denial(Link.read, raw)
    assert any(one in detail for one in told.split("|")), detail


def test_only_the_canonical_bytes():
    raw = LINKS[STEP].statement()
    for other in (b" " + raw, raw + b"\n", json.dumps(json.loads(raw)).encode(), raw[:-1], b"[]", b"", raw * 2):
        denial(Link.read, other)
    denial(Link.read, raw + b" " * link_form.MAX_STATEMENT)
    early = LINKS[STEP].statement().replace(b"2026-11-26T01", b"2026-13-26T01")
    assert "no such time" in denial(Link.read, early)


@given(st.data())
def test_no_byte_can_be_changed_unseen(data):
    """Whatever one byte is changed to, the statement is refused, or says something else under another digest."""
    raw = LINKS[STEP].statement()
    at = data.draw(st.integers(0, len(raw) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != raw[at]))
    spoilt = raw[:at] + bytes([byte]) + raw[at + 1 :]
    read = None
    with contextlib.suppress(Denied):
        read = Link.read(spoilt)
    assert read is None or (read != LINKS[STEP] and read.statement() == spoilt)


@pytest.mark.parametrize("given", [[], ["https://in-toto.io/attestation/link/v0.3"], {}, None, 7, True])
@pytest.mark.parametrize("member", ["_type", "predicateType"])
def test_a_type_of_any_kind_is_malformed(member, given):
    document = json.loads(LINKS[START].statement()) | {member: given}
    with pytest.raises(Denied) as denied:
        Link.read(strict_json.canonical(document))
    assert denied.value.reason is Reason.LINK_MALFORMED
