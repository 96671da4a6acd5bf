import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import batch_form, merkle, strict_json
from app.core.batch import BatchStatement, payload_digest
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.record_entry import RECORD_TYPE

A, B, C, D = (f"sha256:{digit * 64}" for digit in "abcd")
SCHEMA = Path(__file__).resolve().parents[3] / "docs" / "decision-batch.schema.json"


def record(allow, policy=B, library=C, state=D):
    result = {"allow": allow, "bundles": {"policy": policy, "library": library}, "state": state}
    return json.dumps({"decision_id": "d", "result": result, "type": RECORD_TYPE}).encode()


ENTRIES = [record(True), record(False, A), b"2026/01/01 00:00:00 http: TLS handshake error", record(True, A), b""]
LEAVES = [merkle.leaf_hash(bytes(15) + bytes([number]), entry) for number, entry in enumerate(ENTRIES)]
AT = datetime(2026, 11, 26, 1, 2, 3, 999999, tzinfo=UTC)


def described(**changed):
    return BatchStatement.describe(
        **{
            "sidecar": "spiffe://example.org/sidecar/payments/a",
            "instance": "0f" * 16,
            "file": "00000001.log",
            "first_entry": 1000,
            "first_byte": 5000,
            "entries": ENTRIES,
            "leaves": LEAVES,
            "previous": A,
            "opa": B,
            "closed_at": AT,
            **changed,
        }
    )


def denial(call, *arguments, **named):
    with pytest.raises(Denied) as denied:
        call(*arguments, **named)
    assert denied.value.reason == Reason.BATCH_MALFORMED
    assert "\n" not in str(denied.value)
    return str(denied.value)


def test_a_batch_says_what_its_entries_are():
    one = described()
    length = sum(len(entry) + 1 for entry in ENTRIES)
    assert (one.first_entry, one.entries, one.next_entry) == (1000, 5, 1005)
    assert (one.first_byte, one.last_byte) == (5000, 5000 + length)
    assert (one.allows, one.denials, one.others, one.dropped) == (2, 1, 2, 0)
    assert (one.policies, one.libraries, one.states) == ((A, B), (C,), (D,))
    assert one.root == merkle.root(LEAVES).hex()
    assert one.closed_at == datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)


def test_the_statement_is_as_documented():
    one = described()
    raw = one.statement()
    assert raw == strict_json.canonical(json.loads(raw))
    assert json.loads(raw) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "decision-batch", "digest": {"sha256": one.root}}],
        "predicateType": "https://placet.dev/decision-batch/v1",
        "predicate": {
            "sidecar": "spiffe://example.org/sidecar/payments/a",
            "instance": "0f" * 16,
            "file": "00000001.log",
            "entries": {"first": "1000", "count": "5"},
            "bytes": {"first": "5000", "last": str(one.last_byte)},
            "root": one.root,
            "previous": A,
            "allows": "2",
            "denials": "1",
            "others": "2",
            "dropped": "0",
            "policies": [A, B],
            "libraries": [C],
            "states": [D],
            "opa": B,
            "closed_at": "2026-11-26T01:02:03Z",
        },
    }


def test_the_schema_in_the_documentation_is_the_one_that_is_checked():
    """To write it anew: print(json.dumps(batch_form.schema(), indent=2))."""
    assert json.loads(SCHEMA.read_text()) == batch_form.schema()


def test_it_reads_what_it_wrote():
    one = described()
    assert BatchStatement.read(one.statement()) == one
    assert BatchStatement.read(json.loads(one.statement())) == one
    first = described(first_entry=0, previous=None)
    assert BatchStatement.read(first.statement()) == first


def test_any_time_zone_is_written_as_utc():
    there = AT.astimezone(timezone(timedelta(hours=5)))
    assert described(closed_at=there) == described()


def test_the_payload_digest_is_of_the_signed_bytes():
    assert payload_digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"entries": [], "leaves": []}, "1 to 1000 entries"),
        ({"entries": [b""] * 1001, "leaves": [bytes(32)] * 1001}, "1 to 1000 entries"),
        ({"leaves": LEAVES[1:]}, "5 entries, but 4 leaves"),
        ({"entries": [*ENTRIES[:4], b"a\nb"]}, "one line"),
        ({"entries": [b"a" * 1024 * 1024] * 2, "leaves": LEAVES[:2]}, "2 entries in 2097154 bytes"),
        ({"previous": None}, "previous"),
        ({"first_entry": 0}, "previous"),
        ({"first_entry": -1}, "entries.first"),
        ({"first_byte": -1}, "bytes.first"),
        ({"sidecar": "spiffe://example.org/system/payments"}, "sidecar"),
        ({"sidecar": "spiffe://example.org/sidecar/payments/a/b"}, "sidecar"),
        ({"sidecar": "spiffe://example.org/sidecar/Payments/a"}, "sidecar"),
        ({"sidecar": "dev@example.org"}, "sidecar"),
        ({"file": "../00000001.log"}, "file"),
        ({"file": ""}, "file"),
        ({"instance": "a b"}, "instance"),
        ({"previous": "a" * 64}, "previous"),
        ({"opa": "sha256:" + "A" * 64}, "opa"),
        ({"dropped": -1}, "dropped"),
    ],
)
def test_what_is_no_batch_is_not_made(changed, said):
    assert said in denial(described, **changed)


def test_limits():
    assert described(entries=[b""] * 1000, leaves=[bytes(32)] * 1000).last_byte == 6000
    assert described(entries=[b"a" * 2**20, b"a" * (2**20 - 2)], leaves=LEAVES[:2]).last_byte == 5000 + 2**21
    assert described(entries=[b"a" * 2**22], leaves=LEAVES[:1]).last_byte == 5000 + 2**22 + 1


MEMBERS = sorted(json.loads(described().statement())["predicate"])


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_is_required_and_of_one_form(name):
    numbers = () if name in {"instance", "file"} else ("00", "1.0", "1e3", "1" * 19)
    for value in (5, True, {}, [5], "", "-1", " 1", "x" * 3000, [A, A], [B, A], [None], *numbers):
        document = json.loads(described().statement())
        document["predicate"][name] = value
        denial(BatchStatement.read, strict_json.canonical(document))
        denial(BatchStatement.read, document)
    document = json.loads(described().statement())
    del document["predicate"][name]
    denial(BatchStatement.read, document)


def edited(edit):
    document = json.loads(described().statement())
    edit(document, document["predicate"])
    return document


@pytest.mark.parametrize(
    "edit",
    [
        lambda document, _: document.update(more=1),
        lambda document, _: document.pop("subject"),
        lambda document, _: document.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda document, _: document.update(predicateType="https://placet.dev/decision-batch/v2"),
        lambda document, _: document["subject"].append(document["subject"][0]),
        lambda document, _: document["subject"][0].update(name="batch"),
        lambda document, _: document["subject"][0]["digest"].update(sha512="a" * 128),
        lambda document, _: document["subject"][0]["digest"].update(sha256="a" * 64),
        lambda document, _: document.update(predicate=[]),
        lambda _, predicate: predicate.update(more="1"),
        lambda _, predicate: predicate.update(root="a" * 64),
        lambda _, predicate: predicate["entries"].update(more="1"),
        lambda _, predicate: predicate["entries"].update(count="0"),
        lambda _, predicate: predicate["entries"].update(count="1001"),
        lambda _, predicate: predicate["entries"].update(count="4"),
        lambda _, predicate: predicate["bytes"].update(last="5004"),
        lambda _, predicate: predicate["bytes"].update(last=str(5001 + 2**21)),
        lambda _, predicate: predicate.update(allows="3"),
        lambda _, predicate: predicate.update(policies=[f"sha256:{number:064x}" for number in range(1001)]),
        lambda _, predicate: predicate.update(closed_at="2026-02-30T00:00:00Z"),
        lambda _, predicate: predicate.update(closed_at="2026-02-03T24:00:00Z"),
        lambda _, predicate: predicate.update(closed_at="0000-02-03T00:00:00Z"),
        lambda _, predicate: predicate.update(closed_at="2026-02-03T00:00:00+00:00"),
    ],
)
def test_what_is_no_batch_is_not_read(edit):
    denial(BatchStatement.read, edited(edit))
    denial(BatchStatement.read, strict_json.canonical(edited(edit)))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw + b"\n",
        lambda raw: b" " + raw,
        lambda raw: raw[:-1],
        lambda raw: json.dumps(json.loads(raw)).encode(),
        lambda raw: raw.replace(b'"allows":"2",', b'"allows":"2","allows":"2",'),
        lambda raw: raw.replace(b'"allows"', b'"\\u0061llows"'),
        lambda raw: b"[]",
        lambda raw: b"",
        lambda raw: b"\xff",
        lambda raw: b"[" * 100_000,
    ],
)
def test_other_bytes_of_the_same_statement_are_refused(change):
    denial(BatchStatement.read, change(described().statement()))


def test_matching():
    one = described()
    assert one.matches(ENTRIES, LEAVES)
    assert not one.matches(ENTRIES[::-1], LEAVES[::-1])
    assert not one.matches(ENTRIES[1:], LEAVES[1:])
    assert not one.matches(ENTRIES, [*LEAVES[1:], LEAVES[0]])
    assert not one.matches(ENTRIES, LEAVES[1:])
    assert not one.matches([], [])
    # The leaves alone do not tell that the entries are theirs: what is said of them is compared, too.
    assert not one.matches([ENTRIES[0], *ENTRIES[:4]], LEAVES)
    for changed in (
        {"allows": 1, "denials": 2},
        {"others": 1, "denials": 2},
        {"policies": (A,)},
        {"libraries": ()},
        {"states": (C, D)},
        {"last_byte": one.last_byte + 1},
        {"root": "a" * 64},
        {"entries": 4, "others": 1},
    ):
        assert not replace(one, **changed).matches(ENTRIES, LEAVES)


@given(st.lists(st.binary(max_size=30).filter(lambda entry: b"\n" not in entry), min_size=1, max_size=20))
def test_whatever_the_entries_are(entries):
    leaves = [merkle.leaf_hash(bytes(16), entry) for entry in entries]
    one = described(entries=entries, leaves=leaves)
    assert one.matches(entries, leaves)
    assert one.allows + one.denials + one.others == len(entries)
    assert BatchStatement.read(one.statement()) == one
