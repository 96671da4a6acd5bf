"""Every object of every kind, wherever it lies in the store: a bit that is changed is named."""

import contextlib
import json

import pytest

from app.control import batches, links
from app.control.installation import initialise
from app.control.plane import Plane
from app.control.settings import Settings
from app.core.errors import Denied

from .batch_kit import Chain, verify_batch_plain
from .conftest import verify_plain, verify_statement_plain
from .link_kit import Journal
from .test_fsck import Stand, fill, line

#: Where a control plane puts objects.
PLACES = {
    "evidence", "leaves", "libraries", "links", "placet", "quarantine", "records", "salts", "states", "targets"
}  # fmt: skip


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fsck-objects")
    installed = initialise(directory / "control", directory / "root-key.pem")
    plane = Plane.open(
        Settings.load(installed.directory), verify_plain, verify_statement_plain, verify_batch=verify_batch_plain
    )
    fill(plane)
    with plane.publishing() as session:
        plane.keyring.ensure(session)
    journal = Journal()
    journal.trust()
    journal.enforce()
    for statement in journal.made:
        body = json.dumps(journal.body(statement, log_index=statement.number)).encode()
        links.take(plane, journal.system, journal.name, body)
    refused = Chain("three").next(line(31)).body() | {"salts": ""}
    with contextlib.suppress(Denied):
        batches.take(plane, "payments", "three", json.dumps(refused).encode())
    plane.close()
    return Stand(installed.directory)


def test_every_bit_of_every_object_is_named(stand):
    assert stand.found() == []
    keys = [path.relative_to(stand.objects).as_posix() for path in stand.objects.rglob("*") if path.is_file()]
    assert {key.partition("/")[0] for key in keys} == PLACES
    by_place = {place: [key for key in keys if key.partition("/")[0] == place] for place in PLACES}
    wrong = []
    for place, some in by_place.items():
        for key in sorted(some)[:3]:
            raw = (stand.objects / key).read_bytes()
            for at in {0, len(raw) // 2, len(raw) - 1} if raw else ():
                with stand.objects_changed({key: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]}):
                    if not stand.found():
                        wrong.append((place, key, at))
    assert wrong == []


def test_a_refused_batch_that_no_break_names_is_compared_with_its_name(stand):
    [key] = stand.stored("quarantine")
    stray = key.replace("three", "four")
    (stand.objects / stray).parent.mkdir()
    with stand.objects_changed({stray: (stand.objects / key).read_bytes()}):
        assert stand.found() == []
    with stand.objects_changed({stray: b"{}"}):
        assert [(one.kind, one.object) for one in stand.found()] == [("changed", stray)]
