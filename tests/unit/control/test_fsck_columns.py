"""Every column of every table: a bit that is changed is named."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlmodel import SQLModel

from app.control import break_signing, fsck, installation, records, releases, states, warrants
from app.control.break_signing import Failed
from app.control.fsck.kept import Said
from app.control.installation import initialise
from app.control.plane import DEFAULT_IDENTITY_ISSUER, Plane
from app.control.settings import Settings
from app.control.sidecar_statement import payload_of
from app.control.store import (
    Allowance,
    Approval,
    AttestationResult,
    DomainLink,
    Enrolment,
    ErasedBatch,
    Erasure,
    Eviction,
    Execution,
    Forward,
    ForwardBatch,
    Governance,
    Hold,
    ImpactReport,
    Issuer,
    IssuerSource,
    JoinToken,
    LineageBreak,
    Mode,
    Pointer,
    Quarantine,
    Redemption,
    Retention,
    SavedSearch,
    Sidecar,
    SubjectGrant,
    System,
    Warrant,
    WarrantRevocation,
)
from app.control.tokens import Access
from app.core import archive
from app.core.errors import PlacetError
from app.core.governance import audience_of
from app.core.link_names import payload_digest
from app.core.modes import SHADOW
from app.core.warrant_request import APPROVAL, WarrantRequest

from .batch_kit import sign_break_plain, verify_batch_plain
from .conftest import DEVELOPER, LINK, record, signed, verify_plain, verify_statement_plain
from .test_fsck import DIGEST, STATE, Stand, verifier

AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
BY = Access("t", "t", frozenset(), None)

#: Of records and statements: test_fsck.py, test_fsck_links.py and test_erasure_fsck.py change every column of them.
RECORDS = {"batch", "batch_value", "decision", "link", "link_resource"}

#: Rows of what only the control plane itself says, of each table that the stand below has none of otherwise.
LATER = AT + timedelta(hours=1)
ORDERS = [
    Allowance(id=1, system="payments", sidecar="api-*", issuer="i", subject="s", created_by="t", created_by_name="ann"),
    AttestationResult(id="r1", system="payments", sidecar="one", subject="s", submods={"image": {"digest": "d"}},
                      basis=[{"type": "image"}], issued_at=AT, expires_at=LATER),
    Enrolment(system="payments", sidecar="api-1", allowance=1, token_sha256="0" * 64, token_issued_at=AT,
              enrolled_from="::1", api_token="t1"),
    Erasure(kind="subject", system="payments", reason="asked", decisions=3, asked_by="ann", copies=[1]),
    Eviction(system="payments", sidecar="one", reason="lost", evicted_by="t", evicted_by_name="ann"),
    Execution(system="payments", id="e1", sidecar="one", instance="i", subject_issuer="i", subject_id="s",
              warrants=[{"jti": "w1"}], started_by="t"),
    Forward(name="lake", system="payments", target="file:///x", added_by="ann", delivered=7),
    ForwardBatch(forward="lake", batch=1),
    Hold(system="payments", subject_id="eve", since_ns=1, reason="trial", placed_by="ann"),
    ImpactReport(system="payments", release="sha256:aa", since=AT, until=LATER, records=9, changed=1, unavailable=0,
                 inputs="sha256:bb", complete=True, groups=[{"was": "allow"}], recorded_by="t", recorded_by_name="ann"),
    IssuerSource(issuer=1, uri="https://i.example/keys", discovered=False, pins=["p"], refresh_seconds=60,
                 max_age_seconds=600, etag="e"),
    JoinToken(id="j1", system="payments", sidecar="one", secret_sha256="0" * 64, scopes=["record:write"],
              created_by="t", expires_at=LATER),
    LineageBreak(system="payments", sidecar="one", kind="batch.gap", detail="d", stops=True, body_sha256="0" * 64),
    Redemption(key="0" * 64, issuer="i", jti="w1", uses=3, used=1, expires_at=LATER),
    Retention(system="payments", records_days=30, set_by="ann"),
    SavedSearch(system="payments", name="denials", filter={"outcome": "deny"}, saved_by="ann"),
    Sidecar(system="payments", name="one", instance="i", channel="prod", reported_at=AT, healthy=True, reasons=[],
            lease_ttl_seconds=60.5, records_written=9, records_shipped=8),
    WarrantRevocation(system="payments", jti="w9", expires_at=LATER, reason="stolen", revoked_by="t"),
]  # fmt: skip


def sealed(raw):
    """Evidence in plain JSON, with what stands for its signature."""
    return raw[:-1] + b', "seal": "' + sha256(raw).hexdigest().encode() + b'"}'


def said(raw):
    whole, _, seal = raw.partition(b', "seal": "')
    document = json.loads(raw)
    if seal and seal[:-2] != sha256(whole + b"}").hexdigest().encode():
        raise ValueError("the signature is of something else")
    return Said(document["predicateType"], document, **document["signer"], signed_at=AT)


class Kept(Stand):
    def __init__(self, directory):
        super().__init__(directory)
        self.means = fsck.Means(self.settings, (DEFAULT_IDENTITY_ISSUER,), verifier, said=said)
        self.tables = tuple(sorted(set(SQLModel.metadata.tables) - RECORDS))

    def keyed(self, table):
        """Rows with their rowid."""
        with self.database() as connection:
            return [
                dict(one) for one in connection.exec_driver_sql(f"SELECT rowid AS place, * FROM {table}").mappings()
            ]


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    """A row at least of each table of which something is signed, published, or follows from the rest of the row."""
    directory = tmp_path_factory.mktemp("fsck-columns")
    installed = initialise(directory / "control", directory / "root-key.pem")
    plane = Plane.open(
        Settings.load(installed.directory), verify_plain, verify_statement_plain, verify_batch=verify_batch_plain
    )
    domain = plane.settings.domain
    with plane.store.write() as session:
        session.add(System(name="payments", identities=[DEVELOPER], required_predicates=[], horizon_seconds=3600))
    states.keep(plane, BY, "payments", DIGEST, STATE)
    manifest = {"roots": ["app"], "revision": "r1", "metadata": {"placet": {"entrypoint": "app/authz/decision"}}}
    policy = {".manifest": json.dumps(manifest).encode(), "a.rego": b"package app\n\ndefault allow := true\n"}
    attestations = [signed(predicate_type=LINK, number=1), signed(predicate_type=LINK, number=2)]
    release, _ = releases.take(
        plane, BY, "payments", releases.Upload(archive.write_archive(policy), signed(), attestations)
    )
    request = WarrantRequest.model_validate(
        {"subject": {"issuer": "https://i.example", "id": "ann"}, "actor": {"issuer": "https://i.example", "id": "bot"},
         "actions": ["read"], "resources": ["payment/*"], "lifetime_seconds": 60}
    )  # fmt: skip
    whole = request.digest("payments", "w1")
    row = Warrant(
        id="w1", system="payments", request=request.document(), request_digest=whole, subject_issuer="https://i.example",
        subject_id="ann", actor_issuer="https://i.example", actor_id="bot", how="api", requested_by="t", obtained={},
        needs_approval=True,
    )  # fmt: skip
    about = {"subject": [{"digest": {"sha256": whole[7:]}}], "predicate": {"warrant": "w1"}}
    approval = sealed(signed(predicate_type=APPROVAL, **about)).decode()
    warrants.issue(row, domain, payload_digest(payload_of(approval.encode())))
    span = {"from": "2026-01-31T12:00:00Z", "until": "2026-01-31T13:00:00Z"}
    predicate = {"system": audience_of(domain, "payments"), "id": "m1", "reason": "a drill", **span}
    mode = sealed(signed(predicate_type=SHADOW, predicate=predicate)).decode()
    with plane.publishing() as session:
        plane.keyring.ensure(session)
        session.add(row)
        session.flush()
        session.add(
            Approval(warrant="w1", request_digest=whole, evidence=approval, signed_at=AT, received_by="t", **DEVELOPER)
        )
        session.add(
            Mode(system="payments", id="m1", kind="shadow", reason="a drill", begins_at=AT, published_by="t",
                 ends_at=AT + timedelta(hours=1), predicate=predicate, signers=[DEVELOPER], evidence=[mode])
        )  # fmt: skip
        session.add(Pointer(system="payments", channel="prod", sequence=1, release=release.digest, set_by="t"))
        session.add(Quarantine(issuer="https://i.example", subject="eve", reason="stolen", added_by="t"))
        session.add(
            DomainLink(domain="partner.example", signer="s", warrant_keys={}, attestation_keys={}, added_by="t")
        )
        session.add(SubjectGrant(issuer="https://i.example", subject="ann", grants=["assert-subject"], added_by="t"))
        session.add(Issuer(issuer="https://i.example", audiences=["payments"], keys={}))
        session.add(Governance(system="payments", version=1, document={"warrant_required": True}, set_by="t"))
    line = record("d1", True) + b"\n"
    records.ingest(replace(plane, verify_batch=None), records.Span("payments", "one", "i", "f", 0, len(line)), line)
    with plane.store.write() as session:
        for row in ORDERS:
            session.add(row)
            session.flush()
        session.add(ErasedBatch(erasure=1, batch=1))
    break_signing.step(plane, sign_break_plain, Failed())
    plane.close()
    return Kept(installed.directory)


def test_nothing_is_found_where_nothing_was_changed(stand):
    report, findings, unused = stand.check()
    assert (findings, unused, report.links) == ([], [], 0)


def test_no_table_is_forgotten(stand):
    assert all(stand.keyed(table) for table in stand.tables)


def flipped(value):
    """One bit of it is another."""
    if value in (None, ""):
        return "x"
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, float):
        return math.nextafter(value, math.inf)
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    raw[len(raw) // 2] ^= 1
    return raw.decode() if isinstance(value, str) else bytes(raw)


def test_every_column_is_named(stand):
    wrong = []
    for table in stand.tables:
        row = stand.keyed(table)[-1]
        for column in row.keys() - {"place"}:
            change = f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?'
            with stand.changed((change, (flipped(row[column]), row["place"]))):
                findings = stand.found()
            # Of a row that a document was made of, it may be the document's member that is named.
            if table not in {one.table for one in findings} and (
                table not in {"system", "pointer", "seal"} or not findings
            ):
                wrong.append((table, column, findings))
    assert wrong == [], "\n".join(str(one)[:300] for one in wrong)


def test_every_row_that_is_removed_or_added_is_named(stand):
    for table in set(stand.tables) - {"seal"}:
        row = stand.keyed(table)[-1]
        with stand.changed((f"DELETE FROM {table} WHERE rowid = ?", (row["place"],))):
            assert table in {one.table for one in stand.found()}, table
        other = {name: value for name, value in row.items() if name != "place"}
        key = SQLModel.metadata.tables[table].primary_key.columns.keys()[-1]
        other[key] = other[key] + 1000 if isinstance(other[key], int) else f"{other[key]}x"
        other |= {
            "eviction": {"sidecar": "another"},
            "subject_grant": {"subject": "another"},
            "signed_break": {"change": "another"},
        }.get(table, {})  # unique
        marks = ", ".join("?" * len(other))
        names = ", ".join(f'"{name}"' for name in other)
        with stand.changed((f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(other.values()))):
            assert table in {one.table for one in stand.found()}, table


def test_with_another_key_every_row_is_named_and_sealing_takes_them_as_they_are(stand):
    key = stand.settings.seal_key
    before = key.read_bytes()
    rows = sum(len(stand.keyed(table)) for table in stand.tables if table != "seal")
    key.write_bytes(b"0" * 64)
    assert sum(one.detail == "not as the control plane wrote it" for one in stand.found()) == rows + 1  # and the batch
    key.write_bytes(b"no key")
    with pytest.raises(PlacetError, match="holds no key"):
        stand.found()
    key.unlink()
    with pytest.raises(PlacetError, match="placet server seal"):
        stand.found()
    with stand.changed(("UPDATE hold SET reason = 'another'",)):
        assert installation.seal(stand.settings) == rows + 1
        assert stand.found() == []
        assert key.read_bytes() != before
    key.write_bytes(before)
    assert installation.seal(stand.settings) == rows + 1


def test_every_bit_of_what_tuf_serves_is_named(stand):
    rows = stand.keyed("tuf_metadata")
    for row in rows:
        for at in range(0, len(row["body"]), 997):
            body = bytes([*row["body"][:at], row["body"][at] ^ 1, *row["body"][at + 1 :]])
            with stand.changed(("UPDATE tuf_metadata SET body = ? WHERE name = ?", (body, row["name"]))):
                assert any(one.table == "tuf_metadata" for one in stand.found()), (row["name"], at)
    for key in stand.stored("targets"):
        body = (stand.objects / key).read_bytes()
        with stand.objects_changed({key: body[:-1] + bytes([body[-1] ^ 1])}):
            assert any(one.object == key for one in stand.found()), key
    for key in stand.stored("targets/releases"):
        with stand.objects_changed({key: None}):
            assert any(one.object == key for one in stand.found()), key
