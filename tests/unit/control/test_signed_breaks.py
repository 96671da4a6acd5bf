"""A break with the real Sigstore: signed, logged, cleared by a person, and told of the execution by no database."""

import json
import shutil
import subprocess
import time
from datetime import UTC, datetime

import pytest

from app.control import break_signing
from app.control.break_signing import Failed
from app.core.governance import control_plane_id
from app.core.link_names import sidecar_ref
from cli.server_verifiers import break_signer

from .batch_kit import DOMAIN, Chain
from .conftest import record
from .link_kit import EXECUTION, Journal
from .test_signed_batches import PLACET, Live, refused, signed


@pytest.fixture(scope="module")
def live(tmp_path_factory, opa_binary):
    stand = Live(tmp_path_factory.mktemp("live"), opa_binary)
    yield stand
    stand.close()


def test_an_auditor_reads_of_a_break_from_the_log_alone(live, tmp_path):
    client, session = live.sidecar("one")
    journal, chain = Journal(), Chain(closed_at=datetime.now(UTC))
    journal.start()
    for made in journal.made:
        answer = client.post(journal.path, json={"evidence": session.sign(made.statement()).decode()})
        assert answer.status_code == 200, answer.text
    assert client.post(chain.path, json=signed(chain.next(record("d0")), session)).status_code == 200
    lost = Chain(entry=7, previous=chain.previous, byte=chain.byte, closed_at=chain.closed_at)
    live.run("system", "set", "payments", "--lineage-limit", "gap=2s")
    refused(client.post(chain.path, json=signed(lost.peek(record("d7")), session)), 409, "batch.gap")
    time.sleep(2)
    sign = break_signer(live.plane, live.sigstore.trust_config)
    break_signing.step(live.plane, sign, Failed())
    [found] = live.run("lineage", "breaks")
    live.run("lineage", "clear", found["id"], "--reason", "the disk was lost; incident 31")
    break_signing.step(live.plane, sign, Failed())

    stored = live.run("lineage", "show", EXECUTION)
    opened, stopped, cleared = (one for one in stored["story"] if one["what"].startswith("lineage/"))
    assert (opened["what"], opened["kind"], opened["stops"]) == ("lineage/opened", "batch.gap", True)
    assert (stopped["what"], stopped["at"], stopped["by"]) == ("lineage/stopped", opened["stops_at"], None)
    assert (cleared["what"], cleared["by"]) == ("lineage/cleared", "first administrator")
    assert cleared["reason"] == "the disk was lost; incident 31"
    edges = {(one["from"], one["to"], one["kind"]) for one in stored["edges"]}
    assert (opened["digest"], cleared["digest"], "material") in edges
    assert (opened["digest"], sidecar_ref(journal.signer, "i1").digest, "about") in edges

    copy = tmp_path / "copy"
    shutil.copytree(live.plane.settings.directory / "objects", copy)
    place = ("--from-log", "--objects", copy, "--log", live.sigstore.directory / "rekor", "--output", "json")
    place += ("--domain", "placet.internal")
    trust = ("--lineage-trust-config", live.sigstore.trust_config, "--identity-issuer", live.url)
    show = [PLACET, "lineage", "show", EXECUTION, *map(str, (*place, *trust))]
    told = subprocess.run(show, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == stored

    # What a sidecar signs in place of the control plane is told by nobody.
    [file] = copy.glob("breaks/payments/one/*-cleared.json")
    says = break_signing.proved(DOMAIN, [live.url], live.plane.verify_batch, file.read_bytes()).says
    file.write_bytes(session.sign(says.statement()))
    told = json.loads(subprocess.run(show, capture_output=True, text=True, timeout=120).stdout)
    named = [one["what"] for one in told["story"] if one["what"].startswith("lineage/")]
    assert named == ["lineage/opened", "lineage/stopped"]
    assert "statements that do not verify" in told["left_out"]
    assert control_plane_id(DOMAIN) not in json.dumps(told["links"])
