"""What a control plane says no with, as the sidecar tells it: by an HTTP server that answers with problem documents."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from app.control.api.problem_json import describe, document
from app.control.problems import Conflict, Forbidden, TooMany, Unauthenticated, Unavailable
from app.core import reason_table
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.local.ports import free_port
from app.sidecar import status
from app.sidecar.config import SidecarConfig, SidecarFiles
from app.sidecar.control_plane import ControlPlane, NotAccepted
from app.sidecar.failures import Failures
from app.sidecar.loop import Loop
from app.sidecar.shipper import Shipper
from app.sidecar.shipping import PlainShipping

LINE = b'{"decision_id":"d1"}\n'


@pytest.fixture
def server():
    """A control plane that answers with `says`: an error as the real one tells it, or a JSON document."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            says = http.says
            code, body = (
                200,
                json.dumps(says).encode() if isinstance(says, dict) else says if isinstance(says, bytes) else b"",
            )
            if isinstance(says, Exception):
                answer = document(*describe(says))
                code, body = answer.status_code, bytes(answer.body)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", free_port()), Handler) as http:
        serving = threading.Thread(target=http.serve_forever, args=(0.01,))
        serving.start()
        yield http
        http.shutdown()
        serving.join()


@pytest.fixture
def shipping(tmp_path, server):
    """Ships one line of records, unsigned."""
    files = SidecarFiles(tmp_path)
    files.prepare()
    (files.records / "00000001.log").write_bytes(LINE)
    config = SidecarConfig("payments", "prod", "one", f"http://127.0.0.1:{server.server_port}", None, files)
    plane = ControlPlane(config, "token", files.instance())
    return PlainShipping(Shipper(files.records, plane, lambda path, upto: None), files, Failures())


def reported(shipping):
    """The reasons in the sidecar's status, where nothing else is wrong."""
    fine = SimpleNamespace(failure=None, failures=list, against=None)
    parts = SimpleNamespace(
        lease=fine,
        rollout=fine,
        modes=fine,
        trust=fine,
        environment=None,
        shipping=shipping,
        metadata=fine,
        lineage=None,
    )
    return [one["code"] for one in status._reasons(parts)]


UNSIGNED = Denied(Reason.RECORD_UNSIGNED, "only signed ones: start the sidecar with --lineage-trust-config")
STORED = Conflict("byte 0 of this file is stored already", reason=str(Reason.RECORD_CONFLICT))
EVICTED = Denied(Reason.SIDECAR_EVICTED, "the sidecar was evicted")


@pytest.mark.parametrize(
    ("says", "code"), [(UNSIGNED, "record.unsigned"), (STORED, "record.conflict"), (EVICTED, "sidecar.evicted")]
)
def test_a_refusal_is_told_by_the_control_planes_own_code(server, shipping, says, code):
    server.says = says
    with pytest.raises(Denied) as denied:
        shipping.step()
    assert denied.value.reason == code
    assert getattr(says, "detail", str(says)) in denied.value.detail
    assert reported(shipping) == [code]
    told = shipping.refused.told("records")
    assert (told["what"], told["code"], told["remedy"]) == ("records", code, reason_table.remedy(Reason(code)))
    assert denied.value.detail == told["detail"]
    with pytest.raises(Denied):
        shipping.step()
    assert shipping.refused.told("records") == told, "since the first time"
    server.says = {"acknowledged": len(LINE)}
    shipping.step()
    assert reported(shipping) == []
    assert shipping.refused is None


NO = [Conflict("something of this kind is there"), Forbidden("not with this token"), Unauthenticated("revoked")]


LATER = [TooMany("later"), Unavailable("the database does not answer"), None, b"[" * 1000, b"[]"]


@pytest.mark.parametrize("says", [*NO, *LATER])
def test_a_refusal_without_a_code_is_no_conflict(server, shipping, says):
    """Nor does it take back what the control plane said with one. But that it said no is told."""
    server.says = says
    with pytest.raises(NotAccepted):
        shipping.step()
    assert reported(shipping) == []
    assert (shipping.refused is not None) == (says in NO)
    if shipping.refused:
        told = shipping.refused.told("records")
        assert (told["code"], told["detail"]) == (None, f"status {says.status}: {says}")
        assert "API token" in told["remedy"]
    server.says = UNSIGNED
    with pytest.raises(Denied):
        shipping.step()
    server.says = says
    with pytest.raises(NotAccepted):
        shipping.step()
    assert reported(shipping) == ["record.unsigned"]


@pytest.mark.parametrize(("lease", "says", "healthy"), [(60, UNSIGNED, False), (60, None, True), (-60, None, False)])
def test_a_sidecar_is_healthy_that_holds_a_lease_while_its_records_are_taken(server, shipping, lease, says, healthy):
    server.says = says or {"acknowledged": len(LINE)}
    with contextlib.suppress(Denied):
        shipping.step()
    parts = MagicMock(shipping=shipping, lineage=None, environment=None)
    parts.lease.valid_until = time.time() + lease
    parts.metadata.failure = parts.records.tally.return_value = None
    assert status.reported(parts)["healthy"] is healthy
    here = status.local(parts)
    assert (here["lease"], [one["code"] for one in here["refused"]]) == (lease > 0, ["record.unsigned"] if says else [])


def test_the_log_has_the_code_and_what_to_do(server, shipping):
    server.says = UNSIGNED
    told = threading.Event()
    said = []

    def failed(reason, detail):
        said.append((reason, detail))
        told.set()

    loop = Loop("shipping", shipping.step, failed, retry=0.01)
    loop.start()
    assert told.wait(30)
    loop.stop()
    assert said[0] == (Reason.RECORD_UNSIGNED, f"status 409: {UNSIGNED.detail}")
