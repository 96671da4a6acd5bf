"""`placet proof export` against a control plane that says anything: only the proof that was asked for is written."""

import http.server
import json
import stat
import threading
from hashlib import sha256

import pytest

from app.core.errors import Denied, PlacetError, UsageError
from app.core.proof_form import Proof
from app.core.reason_codes import Reason
from app.core.record_entry import RECORD_TYPE
from cli import proof
from cli.output import Output


def whole(decision="d-1", **changed):
    record = json.dumps({"decision_id": decision, "type": RECORD_TYPE}).encode()
    return Proof(
        **{
            "record": record,
            "salt": bytes(16),
            "leaf": bytes(32),
            "index": 0,
            "path": (),
            "batch": b"{}",
            "release": None,
            **changed,
        }
    )


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Export a decision's proof from a control plane that answers with this; what was asked stands in `asked`."""
    servers, asked = [], []
    monkeypatch.setenv("PLACET_TOKEN", "placet_x_y")

    def run(status, body, decision="d-1"):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append((self.path, self.headers["Authorization"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        out = tmp_path / "proof.json"
        address = f"http://127.0.0.1:{server.server_port}"
        proof.export(out, decision, None, None, None, address, None, Output.JSON)
        return out

    run.asked = asked
    run.out = tmp_path / "proof.json"
    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_proof_is_written_for_its_owner_alone(export, capsys):
    raw = whole().write()
    out = export(200, raw)
    assert out.read_bytes() == raw
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert export.asked == [("/api/v1/decisions/d-1/proof", "Bearer placet_x_y")]
    said = json.loads(capsys.readouterr().out)
    assert (said["decision"], said["bytes"], said["erased"]) == ("d-1", len(raw), False)


def test_other_spellings_of_the_same_document_are_written_as_a_proof_is(export):
    raw = whole().write()
    assert export(200, json.dumps(json.loads(raw), indent=2).encode()).read_bytes() == raw


def test_an_id_is_one_segment_of_the_address(export):
    export(200, whole("a?..#b").write(), "a?..#b")
    assert export.asked[0][0] == "/api/v1/decisions/a%3F..%23b/proof"
    with pytest.raises(UsageError, match="it has a slash"):
        export(200, b"", "a/../b")


def test_an_erased_record_has_no_name(export, capsys):
    export(200, whole(record=None, salt=None).write())
    assert json.loads(capsys.readouterr().out)["erased"] is True


def test_a_record_without_a_name_is_asked_for_by_the_control_planes_name(export):
    record = json.dumps({"decision_id": "a b", "type": RECORD_TYPE}).encode()
    export(200, whole(record=record).write(), f"record-{sha256(record).hexdigest()[:32]}")
    for name in ("record-0f", "d-1"):
        with pytest.raises(PlacetError, match="another decision, record-"):
            export(200, whole(record=record).write(), name)


def test_what_begins_like_the_control_planes_names_is_no_way_around_them(export):
    with pytest.raises(PlacetError, match="another decision, d-2"):
        export(200, whole("d-2").write(), "record-0f")


@pytest.mark.parametrize("body", [b"null", b"[]", b"{}", b"1.5", b"1e400", b'{"batch": 9007199254740993}', b"html"])
def test_what_is_no_proof_is_not_written(export, body):
    with pytest.raises(PlacetError) as error:
        export(200, body)
    assert "\n" not in str(error.value)
    assert not export.out.exists()


def test_another_decisions_proof_is_not_written(export):
    with pytest.raises(PlacetError, match="another decision, d-2"):
        export(200, whole("d-2").write())
    assert not export.out.exists()


def test_there_is_none(export):
    problem = {"reason": "proof.missing", "detail": "the record came unsigned", "status": 404}
    with pytest.raises(Denied) as denied:
        export(404, json.dumps(problem).encode())
    assert (denied.value.reason, denied.value.exit_code) == (Reason.PROOF_MISSING, 3)


def test_what_is_no_decision_may_be_an_execution(export):
    with pytest.raises(PlacetError, match=r"^there is no decision and no execution d-1$"):
        export(404, json.dumps({"title": "Not Found", "status": 404}).encode())
    assert [path for path, _ in export.asked] == ["/api/v1/decisions/d-1/proof", "/api/v1/executions/d-1/proof"]
    assert not export.out.exists()


def test_without_a_token(export, monkeypatch):
    monkeypatch.delenv("PLACET_TOKEN")
    with pytest.raises(UsageError):
        export(200, b"")
