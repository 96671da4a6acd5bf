"""Sinks get every stored batch at least once, whatever fails in between, and none of it twice in an object store."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sqlalchemy
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from sqlmodel import select

from app.control import forwarding, sinks
from app.control.forward_worker import Forwarding
from app.control.problems import Invalid
from app.control.store import Forward, ForwardBatch
from app.core.errors import PlacetError

from .conftest import record


@pytest.fixture
def worker(plane):
    """Turns are taken by hand: the app's own thread looks once an hour."""
    made = Forwarding(plane)

    def turn():
        with plane.store.write() as session:
            session.execute(sqlalchemy.update(Forward).values(next_try=None))
        with plane.store.read() as session:
            for one in session.exec(select(Forward)).all():
                made.turn(one.name, one.target)

    yield turn
    for sink in made._open.values():
        sink.close()


@pytest.fixture(autouse=True)
def _no_thread(monkeypatch):
    monkeypatch.setattr(Forwarding, "start", lambda self: None)
    monkeypatch.setattr(Forwarding, "stop", lambda self: None)


def add(api, name, target, **more):
    answer = api.post("/api/v1/forwards", json={"name": name, "target": target, **more})
    assert answer.status_code == 201, answer.text


def shown(api, name):
    return next(one for one in api.get("/api/v1/forwards").json() if one["name"] == name)


def files(directory):
    return {
        str(path.relative_to(directory)): gzip.decompress(path.read_bytes()).splitlines()
        for path in directory.rglob("*.gz")
    }


def test_a_batch_that_is_being_stored_is_not_missed_by_a_sink_of_all(api, plane, tmp_path, monkeypatch):
    """Its transaction saw no such sink; the sink's waits for it, where others may read meanwhile (PostgreSQL)."""
    api.create_system("payments")
    stored, go_on = threading.Event(), threading.Event()
    count = forwarding.enqueue

    def slowly(session, batch):
        count(session, batch)
        stored.set()
        assert go_on.wait(20)

    monkeypatch.setattr(forwarding, "enqueue", slowly)
    shipping = threading.Thread(target=api.ship, args=(record("d1"),))
    shipping.start()
    assert stored.wait(20)
    threading.Timer(0.5, go_on.set).start()
    with plane.store.write() as session:
        forwarding.add(session, "all", f"file://{tmp_path}/all", None, "ann")
    forwarding.queue_stored(plane.store, "all")
    shipping.join()
    assert shown(api, "all")["queued_batches"] == 1


def test_a_directory_gets_what_arrives_and_what_was_there(api, worker, tmp_path):
    api.create_system("payments")
    api.create_system("ledger")
    before = record("before")
    api.ship(before + b"time=now a message of OPA's\n")
    add(api, "new", f"file://{tmp_path}/new")
    add(api, "all", f"file://{tmp_path}/all", from_the_first=True)
    add(api, "ledger-only", f"file://{tmp_path}/ledger", system="ledger")
    after = record("after") + record("more")
    api.ship(after, file="f2")
    assert shown(api, "all")["queued_batches"] == 2
    worker()
    place = "payments/one/i1/f2/" + "0" * 20 + ".jsonl.gz"
    assert files(tmp_path / "new") == {place: after.splitlines()}
    assert files(tmp_path / "all") == {place: after.splitlines(), place.replace("f2", "f1"): before.splitlines()}
    assert not (tmp_path / "ledger").exists() or files(tmp_path / "ledger") == {}
    assert (shown(api, "all")["queued_batches"], shown(api, "all")["delivered_records"]) == (0, 3)
    assert shown(api, "ledger-only")["queued_batches"] == 0


def test_a_sink_that_fails_gets_it_later_and_says_why(api, plane, worker, tmp_path):
    api.create_system("payments")
    (tmp_path / "sink").write_bytes(b"a file, where a directory is to be")
    add(api, "broken", f"file://{tmp_path}/sink")
    add(api, "whole", f"file://{tmp_path}/whole")
    api.ship(record("d1"))
    for failures in (1, 2):
        worker()
        assert (shown(api, "broken")["failures"], shown(api, "broken")["queued_batches"]) == (failures, 1)
    assert shown(api, "broken")["problem"]
    assert shown(api, "broken")["next_try"]
    assert len(files(tmp_path / "whole")) == 1  # one does not wait for the other
    (tmp_path / "sink").unlink()
    worker()
    assert len(files(tmp_path / "sink")) == 1
    assert (shown(api, "broken")["failures"], shown(api, "broken")["problem"]) == (0, None)


def test_a_turn_that_is_killed_after_delivery_delivers_again_to_the_same_name(api, plane, worker, tmp_path):
    api.create_system("payments")
    add(api, "archive", f"file://{tmp_path}/archive")
    api.ship(record("d1"))
    worker()
    with plane.store.write() as session:  # as if the row had not been deleted
        session.add(ForwardBatch(forward="archive", batch=1))
    worker()
    assert list(files(tmp_path / "archive").values()) == [record("d1").splitlines()]


def test_two_control_planes_do_not_take_one_turn(api, plane, tmp_path):
    api.create_system("payments")
    add(api, "archive", f"file://{tmp_path}/archive")
    first, second = Forwarding(plane), Forwarding(plane)
    assert first._claim("archive")
    assert not second._claim("archive")
    first._release("archive")
    assert second._claim("archive")


def test_pauses_grow_to_five_minutes():
    from app.control.forward_worker import _pause

    assert [_pause(failures) for failures in (1, 2, 3, 20)] == [1, 2, 4, 300]


@pytest.fixture(scope="module")
def kafka():
    """The brokers that librdkafka brings for tests: they speak the real protocol."""
    cluster = AdminClient({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 0})
    yield ",".join(f"{one.host}:{one.port}" for one in cluster.list_topics(timeout=10).brokers.values())
    del cluster  # which ends them


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_kafka_gets_a_message_for_each_record(api, worker, kafka):
    api.create_system("payments")
    add(api, "siem", f"kafka://{kafka}/placet-records")
    lines = record("d1") + record("d2", allow=False)
    api.ship(lines)
    worker()
    assert shown(api, "siem")["problem"] is None
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["placet-records"])
    found = [consumer.poll(20.0) for _ in range(2)]
    consumer.close()
    assert sorted(one.value() for one in found) == sorted(lines.splitlines())
    assert {one.key() for one in found} == {b"d1", b"d2"}
    assert dict(found[0].headers())["system"] == b"payments"
    assert found[0].timestamp()[1] == 1769860800123


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_record_longer_than_a_message_holds_up_nothing(api, worker, kafka, tmp_path, monkeypatch):
    file = tmp_path / "kafka.json"
    file.write_text('{"message.max.bytes": 3000}')
    file.chmod(0o600)
    monkeypatch.setenv("PLACET_FORWARD_SIEM", str(file))
    api.create_system("payments")
    add(api, "siem", f"kafka://{kafka}/long-records")
    long = record("long", input={"text": "x" * 5000})
    api.ship(long + record("short"))
    worker()
    assert (shown(api, "siem")["problem"], shown(api, "siem")["queued_batches"]) == (None, 0)
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "h", "auto.offset.reset": "earliest"})
    consumer.subscribe(["long-records"])
    found = {one.key(): one.value() for one in (consumer.poll(20.0) for _ in range(2))}
    consumer.close()
    assert found[b"short"] == record("short").strip()
    assert json.loads(found[b"long"])["too_large"] == len(long) - 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_brokers_that_are_away_are_asked_again(api, worker, monkeypatch):
    monkeypatch.setattr(sinks, "TIMEOUT", 1.5)
    api.create_system("payments")
    add(api, "siem", "kafka://127.0.0.1:9/placet-records")
    api.ship(record("d1"))
    worker()
    assert "Kafka did not take 1 record:" in shown(api, "siem")["problem"]
    assert shown(api, "siem")["queued_batches"] == 1


class Collector(BaseHTTPRequestHandler):
    """What the protocol asks of an OTLP collector."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers.get("x-key"), ExportLogsServiceRequest.FromString(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def collector():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.seen, server.status = [], 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_collector_gets_log_records_with_headers_from_a_file(api, worker, collector, tmp_path, monkeypatch):
    secret = tmp_path / "headers.json"
    secret.write_text(json.dumps({"x-key": "s3cret"}))
    monkeypatch.setenv("PLACET_FORWARD_EU_1", str(secret))
    api.create_system("payments")
    add(api, "eu-1", f"otlp+http://127.0.0.1:{collector.server_port}/v1/logs")
    lines = b"".join(record(f"d{number}", allow=number != 1) for number in range(600))
    api.ship(lines)
    secret.chmod(0o644)
    worker()
    assert "chmod 600" in shown(api, "eu-1")["problem"]
    secret.chmod(0o600)
    worker()
    assert shown(api, "eu-1")["problem"] is None
    assert {(path, key) for path, key, _ in collector.seen} == {("/v1/logs", "s3cret")}
    parts = [resource for _, _, request in collector.seen for resource in request.resource_logs]
    records = [one for part in parts for scope in part.scope_logs for one in scope.log_records]
    assert [one.body.string_value.encode() for one in records] == lines.splitlines()
    assert records[0].time_unix_nano == 1769860800123456789
    assert {one.key: one.value.string_value for one in records[1].attributes} == {
        "placet.decision_id": "d1",
        "placet.outcome": "deny",
    }
    assert {one.key: one.value.string_value for one in parts[0].resource.attributes} == {
        "service.name": "payments",
        "service.instance.id": "one",
    }
    assert "s3cret" not in api.get("/api/v1/forwards").text


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_collector_that_refuses_is_told_of(api, worker, collector):
    collector.status = 400
    api.create_system("payments")
    add(api, "c", f"otlp+http://127.0.0.1:{collector.server_port}/v1/logs")
    api.ship(record("d1"))
    worker()
    assert (shown(api, "c")["failures"], shown(api, "c")["queued_batches"]) == (1, 1)


@pytest.mark.parametrize(
    "target",
    [
        "ftp://host/x", "s3://", "kafka://broker:9092", "kafka://broker:9092/a b", "file://relative/x", "file:///a/../b",
        "otlp+https://user:secret@host/v1/logs", "otlp+https://host/v1/logs?token=x", "https://host", "kafka://h:99999999/t",
        "nothing", "",
    ],
)  # fmt: skip
def test_targets_that_make_no_sense_or_hold_secrets_are_refused(target):
    with pytest.raises(Invalid):
        sinks.check(target)


def test_settings_that_kafka_does_not_know_are_told(tmp_path, monkeypatch):
    file = tmp_path / "s.json"
    file.write_text('{"no.such.setting": 1}')
    file.chmod(0o600)
    monkeypatch.setenv("PLACET_FORWARD_K", str(file))
    with pytest.raises(PlacetError, match="librdkafka does not take the settings"):
        sinks.open_sink("k", "kafka://127.0.0.1:9/t")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_only_admins_choose_where_records_go(api):
    api.create_system("payments")
    reader = api.with_token("decision:read", "system:write")
    body = {"name": "x", "target": "file:///tmp/x"}
    assert reader.post("/api/v1/forwards", json=body).status_code == 403
    assert reader.get("/api/v1/forwards").status_code == 403
    assert api.post("/api/v1/forwards", json=body | {"system": "none"}).status_code == 404
    assert api.post("/api/v1/forwards", json=body).status_code == 201
    assert api.post("/api/v1/forwards", json=body).status_code == 409
    assert api.delete("/api/v1/forwards/x").status_code == 204
    assert api.delete("/api/v1/forwards/x").status_code == 404


@pytest.mark.unsealed
def test_a_sink_with_a_long_queue_is_removed(api, plane, tmp_path):
    """Of more rows than a statement has parameters."""
    api.create_system("payments")
    api.ship(record("d1"))
    add(api, "slow", f"file://{tmp_path}/slow")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 140000) "
    names = 'id, system, sidecar, instance, file, "first", last, sha256, object, other_lines, received_at'
    with plane.store.write() as session:
        for insert in (
            f"INSERT INTO batch ({names}) {numbers} "
            "SELECT i, system, sidecar, instance, 'many', i, i + 1, '', '', 0, received_at FROM n, batch WHERE id = 1",
            f"INSERT INTO forward_batch {numbers} SELECT 'slow', i FROM n",
        ):
            session.execute(sqlalchemy.text(insert))
    assert shown(api, "slow")["queued_batches"] == 139_999
    assert api.delete("/api/v1/forwards/slow").status_code == 204
    assert api.get("/api/v1/forwards").json() == []


def test_of_two_failures_that_are_noted_at_once_both_count(api, plane, tmp_path):
    add(api, "archive", f"file://{tmp_path}/archive")
    worker = Forwarding(plane)
    with plane.store.write() as session:
        session.execute(sqlalchemy.update(Forward).values(failures=Forward.failures + 1))
        other = threading.Thread(target=worker._note_failure, args=("archive", "x"))
        other.start()
        other.join(0.5)  # by then it waits for this transaction
    other.join(30)
    assert shown(api, "archive")["failures"] == 2
