"""`placet lineage monitor` and a real Rekor: what sidecars sign there is found, over HTTP and in its directory."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core import merkle, statements, strict_json
from app.core.checkpoint import Checkpoint
from app.core.log_archive import keep
from app.core.log_source import DirectorySource
from app.core.log_tiles import LogTiles
from tests.integration.proof_stand import RELEASER, SIDECAR, Stand
from tests.last_words import last_words
from tests.unit.core.log_kit import Authority, MadeLog, some

pytestmark = pytest.mark.stack

OTHER = "spiffe://example.org/sidecar/payments/b"


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    with Stand(tmp_path_factory.mktemp("stand") / "sigstore") as running:
        yield running


def sign(stand, count, identity=SIDECAR, text="x"):
    """Bundles of so many statements, which are then in the log."""
    wanted = {
        str(number): (identity, statements.statement([statements.resource(f"{text} {number}", f"{number:064x}")],
                                                     "https://example.org/test", {}))
        for number in range(count)
    }  # fmt: skip
    return list(stand.sign(wanted).values())


def expected(bundles, identities="spiffe://example.org/sidecar/"):
    """What a control plane that holds these bundles would say."""
    entries = []
    for number, raw in enumerate(bundles):
        [entry] = strict_json.load_object(raw)["verificationMaterial"]["tlogEntries"]
        body = base64.b64decode(entry["canonicalizedBody"])
        entries.append(
            {"name": f"batch {number}", "index": entry["logIndex"], "leaf": merkle.entry_hash(body).hex(),
             "checkpoint": entry["inclusionProof"]["checkpoint"]["envelope"]}
        )  # fmt: skip
    return {"identities": identities, "entries": entries, "next": "end", "more": False}


def placet(*arguments, environment=None):
    command = [sys.executable, "-m", "cli", "lineage", "monitor", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PLACET_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**clean, **(environment or {})})


@pytest.fixture
def monitor(stand, tmp_path):
    def run(*more, log=None):
        where = log or stand.sigstore.urls["tiles"]
        return placet("--log", where, "--lineage-trust-config", stand.trust_config, "--state",
                      tmp_path / "monitor.json", "--output", "json", *more)  # fmt: skip

    return run


@pytest.fixture
def rekor(stand):
    return stand.sigstore.directory / "rekor"


def test_alone_it_needs_no_token_and_no_control_plane(stand, monitor):
    sign(stand, 3)
    first = monitor()
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["before"] is None
    assert report["scanned"] == report["now"]["size"]
    sign(stand, 2)
    report = json.loads(monitor().stdout)
    assert report["scanned"] == "2"
    assert int(report["before"]["size"]) + 2 == int(report["now"]["size"])
    assert report["findings"] == []


def test_a_log_that_grows_while_it_is_read(stand, monitor, rekor):
    sign(stand, 1)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [sign(stand, 8, text=str(time.time_ns())) for _ in range(3)])
        looks = 0
        while not writing.done() or looks < 2:
            done = monitor(log=rekor)
            assert done.returncode == 0, done.stderr
            looks += 1
        writing.result()
    assert int(json.loads(monitor(log=rekor).stdout)["now"]["size"]) >= 25


def test_the_directory_says_the_same(stand, monitor, rekor, tmp_path):
    sign(stand, 1)
    over_http = json.loads(monitor().stdout)
    (tmp_path / "monitor.json").unlink()
    assert {**json.loads(monitor(log=rekor).stdout), "log": 0} == {**over_http, "log": 0}


def test_what_is_held_is_there_and_what_is_not_held_is_named(stand, monitor, tmp_path):
    bundles = sign(stand, 4, OTHER, text=str(time.time_ns()))
    sign(stand, 1, RELEASER)
    file = tmp_path / "expected.json"
    file.write_text(json.dumps(expected(bundles, OTHER)))
    done = monitor("--expect", file)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["expected"], report["own"], report["unclaimed"]) == ("4", "4", "0")

    wrong = expected(bundles, OTHER)
    wrong["entries"][1]["leaf"] = "00" * 32
    del wrong["entries"][2]
    file.write_text(json.dumps(wrong))
    (tmp_path / "monitor.json").unlink()
    done = monitor("--expect", file, "--grace", "1s")
    assert done.returncode == 3
    assert last_words(done.stderr).startswith("placet: denied: log.missing: at ")
    assert last_words(done.stderr).count("\n") == 1
    [finding] = json.loads(done.stdout)["findings"]
    assert finding["entry"] == "batch 1"
    assert not (tmp_path / "monitor.json").exists()


def test_an_entry_that_nobody_claims_and_the_person_who_looked(stand, monitor, tmp_path):
    bundles = sign(stand, 2, OTHER, text=str(time.time_ns()))
    file = tmp_path / "expected.json"
    file.write_text(json.dumps(expected(bundles[:1], OTHER)))
    monitor()  # from here on
    mine = sign(stand, 1, OTHER, text=str(time.time_ns()))
    assert monitor("--expect", file).returncode == 0
    time.sleep(1.1)
    done = monitor("--expect", file, "--grace", "1s")
    assert done.returncode == 3
    [finding] = json.loads(done.stdout)["findings"]
    [entry] = strict_json.load_object(mine[0])["verificationMaterial"]["tlogEntries"]
    assert (finding["reason"], finding["index"], finding["entry"]) == ("log.unexpected", entry["logIndex"], OTHER)
    done = monitor("--expect", file, "--grace", "1s", "--acknowledge")
    assert done.returncode == 3
    assert "acknowledged" in done.stderr
    assert monitor("--expect", file, "--grace", "1s").returncode == 0


def test_a_fork_leaves_both_checkpoints_as_evidence(stand, monitor, rekor, tmp_path):
    sign(stand, 2)
    assert monitor(log=rekor).returncode == 0
    kept = (tmp_path / "monitor.json").read_bytes()
    size = int(json.loads(kept)["checkpoint"].split("\n")[1])
    fork = tmp_path / "fork"
    MadeLog(fork, Authority(stand.sigstore.directory)).publish(*some(size + 3))  # by the log's own key
    done = monitor(log=fork)
    assert done.returncode == 3
    assert "log.inconsistent: the first" in done.stderr
    assert (tmp_path / "monitor.json").read_bytes() == kept
    found = sorted((tmp_path / "monitor.json.evidence" / "checkpoints").iterdir())
    notes = {Checkpoint.read(path.read_text(), stand.trust).size for path in found}
    assert notes == {size, size + 3}
    refused = monitor("--acknowledge", log=fork)
    assert refused.returncode == 2
    assert "not for --acknowledge" in refused.stderr


def test_witnesses(stand, monitor, tmp_path):
    sign(stand, 1)
    url = f"{stand.sigstore.urls['tiles']}/checkpoint"
    seen = tmp_path / "seen"
    seen.write_bytes((stand.sigstore.directory / "rekor" / "checkpoint").read_bytes())
    done = monitor("--witness", url, "--witness", seen)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["witnessed"] == "2"
    done = monitor("--witness", "http://127.0.0.1:9/checkpoint")
    assert done.returncode == 1
    assert done.stderr.startswith("placet: log.unavailable: http://127.0.0.1:9/checkpoint does not answer")
    assert json.loads(done.stdout)["findings"] == []
    seen.write_text("junk")
    assert monitor("--witness", seen).returncode == 3


def test_archived_checkpoints_can_be_proved_to(stand, monitor, rekor, tmp_path):
    archive = tmp_path / "archive"
    sign(stand, 2)
    assert monitor("--archive", archive).returncode == 0
    sign(stand, 2)
    assert monitor("--archive", archive).returncode == 0
    notes = [Checkpoint.read(path.read_bytes(), stand.trust) for path in (archive / "checkpoints").iterdir()]
    first, second = sorted(notes, key=lambda one: one.size)
    assert first.size < second.size
    for one in (first, second):  # from the archive alone, as long as no tile is full
        assert LogTiles(DirectorySource(archive), one.size).root() == one.root
    proof = LogTiles(DirectorySource(archive), second.size).consistency(first.size)
    assert merkle.consistent(first.size, first.root, second.size, second.root, proof)
    keep(archive, second, LogTiles(DirectorySource(rekor), second.size))  # again is harmless


def test_a_log_that_is_down(monitor, tmp_path):
    done = monitor(log="http://127.0.0.1:9/api/v2")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("placet: log.unavailable: http://127.0.0.1:9/api/v2/checkpoint does not answer")
    assert not (tmp_path / "monitor.json").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--every", "soon"], "--every is a time"),
        (["--every", "5s", "--once"], "--once or --every"),
        (["--expect", "/nowhere", "--server", "http://127.0.0.1:1"], "--expect or --server"),
        (["--expect", "/nowhere"], "cannot read the expected entries"),
        (["--server", "http://127.0.0.1:1"], "no API token"),
        (["--witness", "/nowhere"], "cannot read the checkpoint /nowhere"),
        (["--grace", "x"], "--grace is a time"),
        (["--domain", "Example.org/x"], "is no trust domain"),
    ],
)
def test_wrong_usage(monitor, more, says):
    done = monitor(*more)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_places(stand, monitor, tmp_path):
    assert monitor(log=tmp_path / "nowhere").returncode == 2
    assert monitor(log="ftp://example.org").returncode == 2
    done = placet("--log", "x", "--lineage-trust-config", stand.trust_config, "--state", tmp_path / "no" / "state")
    assert (done.returncode, "is no directory: --state" in done.stderr) == (2, True)


def test_it_follows_until_something_is_found(stand, tmp_path, rekor):
    """And it outlives a log that is down for a while."""
    log = tmp_path / "log"
    sign(stand, 1)
    shutil.copytree(rekor, log)
    command = [
        sys.executable, "-m", "cli", "lineage", "monitor", "--log", log, "--lineage-trust-config", stand.trust_config,
        "--state", tmp_path / "state.json", "--every", "1s", "--output", "json",
    ]  # fmt: skip
    with subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        first = json.loads(process.stdout.readline())
        assert json.loads(process.stdout.readline())["scanned"] == "0"
        checkpoint = (log / "checkpoint").read_bytes()
        (log / "checkpoint").unlink()
        assert "log.unavailable" in process.stderr.readline()
        # Put in place at once: a monitor reads whatever it finds.
        (log / "new").write_bytes(checkpoint)
        (log / "new").replace(log / "checkpoint")
        assert json.loads(process.stdout.readline())["scanned"] == "0"
        busy = placet("--log", log, "--lineage-trust-config", stand.trust_config, "--state", tmp_path / "state.json")
        assert (busy.returncode, "another monitor keeps" in busy.stderr) == (1, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert first["scanned"] == first["now"]["size"]
