"""Every column of every table: a bit that is changed is named, or stands in the list of what nobody signs."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlmodel import SQLModel

from app.control import fsck, releases, states, warrants
from app.control.fsck.kept import Said
from app.control.installation import initialise
from app.control.plane import DEFAULT_IDENTITY_ISSUER, Plane
from app.control.settings import Settings
from app.control.store import (
    Approval,
    DomainLink,
    Governance,
    Issuer,
    Mode,
    Pointer,
    Quarantine,
    SubjectGrant,
    System,
    Warrant,
)
from app.control.tokens import Access
from app.core import archive
from app.core.governance import audience_of
from app.core.modes import SHADOW
from app.core.warrant_request import APPROVAL, WarrantRequest

from .batch_kit import verify_batch_plain
from .conftest import DEVELOPER, LINK, signed, verify_plain, verify_statement_plain
from .test_fsck import DIGEST, STATE, Stand, verifier

AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
BY = Access("t", "t", frozenset(), None)

#: Of records and statements: test_fsck.py, test_fsck_links.py and test_erasure_fsck.py change every column of them.
RECORDS = {"batch", "decision", "link", "link_resource", "erased_batch"}

#: What only the control plane itself says, and nothing that is signed repeats. docs/lineage.md says so, too.
NOBODY = {
    "alembic_version": {"version_num"},
    "approval": {"received_at", "received_by"},
    "domain_link": {"since", "added_by", "signer", "warrant_keys", "attestation_keys"},
    "evidence": {"taken_at"},
    "governance": {"version", "set_at", "set_by"},
    "issuer": {"id", "changed_at"},
    "mode": {"published_at", "published_by", "ended_at", "ended_by"},
    "pointer": {"set_at", "set_by"},
    "quarantine": {"id", "added_by", "lifted_by"},
    "release": {"taken_at"},
    "subject_grant": {"id", "since", "added_by"},
    "signing_key": {"purpose", "uri", "announced_at", "signs_from", "signed_until", "withdrawn_at", "announced_by",
                    "withdrawn_by"},
    "system": {"identities", "required_predicates", "release_rules", "shadow", "break_glass", "lineage_limits",
               "impact", "created_at"},
    "trust_state": {"sidecar", "named", "received_at"},
    "tuf_metadata": {"written_at"},
    "warrant": {"how", "requested_by", "obtained", "idempotency_key", "needs_approval", "created_at", "revoked_at"},
}  # fmt: skip
#: Tables of which that holds for all columns: orders, settings and reports of people, and the state of what runs.
UNSIGNED = {
    "api_token", "attestation_result", "carried", "erasure", "eviction", "execution", "forward", "forward_batch",
    "hold", "impact_report", "issuer_source", "join_token", "lineage_break", "redemption", "retention",
    "saved_search", "sidecar", "warrant_revocation",
}  # fmt: skip


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
        self.tables = tuple(sorted(set(SQLModel.metadata.tables) - RECORDS - UNSIGNED))

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
    warrants.issue(row, domain)
    about = {"subject": [{"digest": {"sha256": whole[7:]}}], "predicate": {"warrant": "w1"}}
    approval = sealed(signed(predicate_type=APPROVAL, **about)).decode()
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
    plane.close()
    return Kept(installed.directory)


def test_nothing_is_found_where_nothing_was_changed(stand):
    report, findings, unused = stand.check()
    assert (findings, unused, report.links) == ([], [], 0)


def test_no_table_is_forgotten(stand):
    assert set(SQLModel.metadata.tables) == RECORDS | UNSIGNED | (set(NOBODY) - {"alembic_version"})
    assert all(stand.keyed(table) for table in stand.tables)


def flipped(value):
    """One bit of it is another."""
    if value in (None, ""):
        return "x"
    if isinstance(value, int):
        return value ^ 1
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    raw[len(raw) // 2] ^= 1
    return raw.decode() if isinstance(value, str) else bytes(raw)


def test_every_column_is_named_or_said_by_nobody(stand):
    wrong = []
    for table in stand.tables:
        row = stand.keyed(table)[-1]
        for column in row.keys() - NOBODY[table] - {"place"}:
            change = f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?'
            with stand.changed((change, (flipped(row[column]), row["place"]))):
                findings = stand.found()
            # Of a row that a document was made of, it is the document's member that is named.
            if table not in {one.table for one in findings} and (table not in {"system", "pointer"} or not findings):
                wrong.append((table, column, findings))
    assert wrong == [], "\n".join(str(one)[:300] for one in wrong)


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
