"""What a control plane says no with, as the sidecar tells it: by an HTTP server that answers with problem documents."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from app.control.api.problem_json import describe, document
from app.control.problems import Conflict, Forbidden
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
            code, body = 200, json.dumps(says).encode() if isinstance(says, dict) else b""
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
        lease=fine, rollout=fine, modes=fine, trust=fine, environment=None, shipping=shipping, metadata=fine
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
    server.says = {"acknowledged": len(LINE)}
    shipping.step()
    assert reported(shipping) == []


@pytest.mark.parametrize("says", [Conflict("something of this kind is there"), Forbidden("not with this token"), None])
def test_a_refusal_without_a_code_is_no_conflict(server, shipping, says):
    """Nor does it take back what the control plane said with one."""
    server.says = says
    with pytest.raises(NotAccepted):
        shipping.step()
    assert reported(shipping) == []
    server.says = UNSIGNED
    with pytest.raises(Denied):
        shipping.step()
    server.says = says
    with pytest.raises(NotAccepted):
        shipping.step()
    assert reported(shipping) == ["record.unsigned"]


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
