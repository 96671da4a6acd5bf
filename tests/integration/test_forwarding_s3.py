"""Records reach a real S3 server, also when it is away for a while."""

import gzip

import obstore
import pytest
from obstore.store import S3Store
from sqlmodel import select

from app.control import forwarding, records
from app.control.forward_worker import Forwarding
from app.control.installation import initialise
from app.control.plane import Plane
from app.control.raw_records import Span
from app.control.settings import Settings
from app.control.store import Forward, ForwardBatch, System

from .fault_kit import BUCKET, ObjectStore

LINE = b'{"type":"openpolicyagent.org/decision_logs","decision_id":"d%d","path":"placet/decision"}\n'


@pytest.fixture
def s3(tmp_path, monkeypatch):
    server = ObjectStore(tmp_path / "s3")
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    yield server
    server.kill()


@pytest.fixture
def plane(tmp_path):
    made = initialise(tmp_path / "control", tmp_path / "root-key.pem")
    opened = Plane.open(Settings.load(made.directory), lambda *_: pytest.fail("nothing is published"))
    with opened.store.write() as session:
        session.add(System(name="payments", identities=[], horizon_seconds=60))
    yield opened
    opened.close()


def ship(plane, number, first):
    body = LINE % number
    records.ingest(plane, Span("payments", "one", "i", "f", first, first + len(body)), body)
    return first + len(body)


def waiting(plane):
    with plane.store.read() as session:
        return len(session.exec(select(ForwardBatch)).all()), session.exec(select(Forward)).one()


def test_a_bucket_gets_each_batch_once_it_is_back(s3, plane):
    target = f"s3://{BUCKET}/placet"
    with plane.store.write() as session:
        forwarding.add(session, "archive", target, None, "test")
    worker = Forwarding(plane)
    end = ship(plane, 1, 0)
    worker.turn("archive", target)
    assert waiting(plane)[0] == 0

    s3.kill()
    ship(plane, 2, end)
    worker.turn("archive", target)
    number, sink = waiting(plane)
    assert (number, sink.failures) == (1, 1)
    assert "does not answer" in sink.problem

    s3.start()
    worker._release("archive")
    worker.turn("archive", target)
    number, sink = waiting(plane)
    assert (number, sink.delivered, sink.failures) == (0, 2, 0)
    store = S3Store(BUCKET, prefix="placet")
    found = sorted(one["path"] for page in obstore.list(store) for one in page)
    assert [gzip.decompress(bytes(obstore.get(store, path).bytes())) for path in found] == [LINE % 1, LINE % 2]
