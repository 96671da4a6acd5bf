"""Each of the servers that a signature needs is down alone: decisions go on, batches wait, and all arrive once."""

import contextlib
import time

import pytest

from app.local import tools
from app.local.children import Children
from app.local.demo.load import Load
from app.local.demo.parts import eventually

from .lineage_kit import LineageStack, chained

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

#: How the agent tells of each, and whether only an agent without a certificate misses it.
SERVERS = {
    "rekor": ("cannot sign: ", False),
    "tsa": ("the timestamp authority did not answer", False),
    "fulcio": ("cannot get a signing certificate: ", True),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LineageStack(tmp_path_factory.mktemp("sigstore-down"), tools.installed("opa")) as stack:
        stack.publish(stack.sign(stack.build("v1")))
        yield stack


@contextlib.contextmanager
def down(sigstore, service):
    """One server is killed, the others go on; afterwards it runs again, with what is on its disk."""
    server = sigstore._servers[service]
    server.kill()
    server.wait()
    assert [name for name, answers in sigstore.status().items() if not answers] == [service]
    yield
    home = sigstore._directory(service)
    (home / "legacy.sock").unlink(missing_ok=True)  # as its own start does: Fulcio would fail on it
    with sigstore._log_file(service).open("ab") as log:
        children = Children()
        sigstore._running.callback(children.stop)
        sigstore._servers[service] = children.start(
            server.args, output=log, environment={"HOME": str(home)}, directory=home
        )
    eventually("it answers", lambda: all(sigstore.status().values()), within=30)


@pytest.mark.parametrize("service", SERVERS)
def test_what_is_answered_meanwhile_is_stored_once_when_it_is_back(stack, service):
    told, restarts = SERVERS[service]
    name = f"till-{service}"
    sidecar = stack.start_sidecar(name)
    with Load(sidecar.port, sidecar.ca, stack.request(), callers=1) as load:
        eventually("some are stored", lambda: stack.batches(name))
        with down(stack.sigstore, service):
            if restarts:  # a certificate lasts for minutes: the next agent needs one at once
                sidecar.agent.kill()
                stack.start_agent(sidecar)
            before = len(stack.batches(name))
            since = time.monotonic()
            eventually("it tells of it", lambda: sidecar.status()["batches"]["trouble"], within=30)
            assert told in sidecar.status()["batches"]["trouble"]
            eventually("batches wait", lambda: sidecar.status()["batches"]["waiting"] > 1, within=30)
            time.sleep(1)
            meanwhile = [one.decision.allow for one in list(load.answers) if one.at > since]
            assert len(meanwhile) > 10
            assert all(meanwhile), load.outcomes()
            assert len(stack.batches(name)) <= before + 1, "one may have been signed"
            assert sidecar.status()["healthy"]
    answered = load.answered()
    eventually("all are stored", lambda: answered <= set(stack.decision_ids(name)), within=60)
    known = stack.decision_ids(name)
    assert len(known) == len(set(known)), "twice"
    assert chained(stack.batches(name))
    assert stack.breaks(name) == []
    stack.stop_sidecar(sidecar)
