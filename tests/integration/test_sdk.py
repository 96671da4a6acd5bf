"""The SDK and a real OPA with the governance library: every way in which an answer can fail to come is a denial."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.local.demo.impostor import Impostor
from app.local.demo.load import Caller, Load
from app.local.ports import free_port
from app.local.sample_service import Governed, create_app
from app.sidecar.pki import SidecarCA
from bench import stand
from placet_sdk import AsyncPlacet, Decision, Denied, Placet
from tests.integration import sdk_kit
from tests.unit.sdk import fake

pytestmark = [pytest.mark.stack]

PAYMENT = ("payment", "p-1")


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sdk_kit.Sidecar]:
    with sdk_kit.running(tmp_path_factory.mktemp("opa") / "tls") as running:
        yield running


class Asking:
    """Both clients, in one way of asking."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, options: dict[str, Any], *question: Any, **more: Any) -> Decision:
        if self.kind == "sync":
            with Placet(**options) as placet:
                return placet.decide(*(question or ("read", PAYMENT)), **more)

        async def asynchronous() -> Decision:
            async with AsyncPlacet(**options) as placet:
                return await placet.decide(*(question or ("read", PAYMENT)), **more)

        return anyio.run(asynchronous)


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Asking:
    return Asking(request.param)


def denied(decision: Decision) -> list[str]:
    assert not decision.allow
    return decision.codes


def test_an_allow_is_whole(sidecar: sdk_kit.Sidecar, ask: Asking) -> None:
    decision = ask(sidecar.options, "note", PAYMENT, {"amount": 1}, fulfils=())
    assert decision.allow
    assert decision.codes == ["policy:noted"]
    assert decision.subject is not None
    assert (decision.subject.issuer, decision.subject.id) == (stand.ISSUER, sdk_kit.SUBJECT)
    assert decision.subject.domain == "example.org"
    assert decision.expires_at is not None
    assert 0 < decision.expires_at.timestamp() - time.time() <= 600
    assert set(decision.bundles) == {"policy", "library"}
    assert any(record["decision_id"] == decision.decision_id for record in sidecar.server.records())


def test_a_denial_says_why(sidecar: sdk_kit.Sidecar, ask: Asking) -> None:
    assert denied(ask(sidecar.options, "refund", PAYMENT)) == ["policy.denied"]
    assert denied(ask(sidecar.options | {"identity": None})) == ["identity.missing"]
    assert denied(ask(sidecar.options | {"identity": "junk"})) == ["identity.malformed"]
    assert denied(ask(sidecar.options, "read", ("payment", ""))) == ["request.malformed"]


def test_obligations(sidecar: sdk_kit.Sidecar, ask: Asking) -> None:
    assert denied(ask(sidecar.options, "mask", PAYMENT)) == ["obligation.unfulfilled"]
    allowed = ask(sidecar.options, "mask", PAYMENT, fulfils={"mask"})
    assert allowed.allow
    assert allowed.obligations == ({"type": "mask", "fields": ["iban"]},)


def test_a_conflict_in_the_policy(sidecar: sdk_kit.Sidecar, ask: Asking) -> None:
    assert denied(ask(sidecar.options, "break", PAYMENT, {"left": True, "right": False})) == ["evaluation.error"]


def test_a_huge_answer(sidecar: sdk_kit.Sidecar, ask: Asking) -> None:
    assert denied(ask(sidecar.options, "flood", PAYMENT, fulfils={"flood"})) == ["decision.malformed"]


def test_what_opa_would_settle_is_not_sent(sidecar: sdk_kit.Sidecar, ask: Asking) -> None:
    before = len(sidecar.server.records())
    for context in ({"amount": 2**53 + 1}, {"amount": float("inf")}, {"text": "\ud800"}, {"text": "x" * 65536}):
        assert denied(ask(sidecar.options, "read", PAYMENT, context)) == ["request.malformed"]
    assert len(sidecar.server.records()) == before


def test_the_largest_request_is_taken_by_opa(sidecar: sdk_kit.Sidecar) -> None:
    def with_text(length: int) -> Decision:
        with Placet(**sidecar.options) as placet:
            return placet.decide("read", PAYMENT, {"text": "x" * length})

    smallest, largest = 0, 65536
    while largest - smallest > 1:  # the longest that the SDK sends
        middle = (smallest + largest) // 2
        smallest, largest = (middle, largest) if with_text(middle).decision_id else (smallest, middle)
    assert with_text(smallest).allow
    assert denied(with_text(largest)) == ["request.malformed"]


def test_another_authority_is_not_believed(sidecar: sdk_kit.Sidecar, ask: Asking, tmp_path: Path) -> None:
    SidecarCA.open(tmp_path / "ca.key", tmp_path / "ca.pem")
    options = sidecar.options | {"ca": tmp_path / "ca.pem"}
    decision = ask(options)
    assert denied(decision) == ["sidecar.unreachable"]
    assert "CERTIFICATE_VERIFY_FAILED" in decision.reasons[0].message


def test_an_impostor_never_sees_the_token(sidecar: sdk_kit.Sidecar, ask: Asking) -> None:
    with Impostor(free_port()) as impostor:
        options = sidecar.options | {"url": f"https://127.0.0.1:{impostor.port}"}
        assert denied(ask(options)) == ["sidecar.unreachable"]
        time.sleep(0.2)
        assert impostor.connections
        assert not impostor.requests


def test_the_name_in_the_certificate_counts(sidecar: sdk_kit.Sidecar, ask: Asking) -> None:
    port = sidecar.url.rsplit(":", 1)[1]
    assert ask(sidecar.options | {"url": f"https://localhost:{port}"}).allow
    assert denied(ask(sidecar.options | {"url": f"https://127.0.0.2:{port}"})) == ["sidecar.unreachable"]


def test_plain_http_to_tls(sidecar: sdk_kit.Sidecar, ask: Asking) -> None:
    options = sidecar.options | {"url": sidecar.url.replace("https", "http"), "insecure_loopback": True}
    # Go's server answers 400 and closes, and the client may see only that.
    assert denied(ask(options)) in (["request.malformed"], ["sidecar.unreachable"])


def test_the_environment_says_nothing(
    sidecar: sdk_kit.Sidecar, ask: Asking, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    SidecarCA.open(tmp_path / "ca.key", tmp_path / "ca.pem")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert ask(sidecar.options).allow
    assert not (tmp_path / "keys").exists()


def test_warrants_with_proof_of_possession(sidecar: sdk_kit.Sidecar, ask: Asking) -> None:
    key = Ed25519PrivateKey.generate()
    public = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    warrant = [sidecar.warrant(cnf={"jwk": public})]
    question = ("read", ("payment", "p-ü"), {"amount": 40})
    allowed = ask(sidecar.options, *question, warrant=warrant, proof_key=key)
    assert allowed.codes == []
    assert allowed.warrant is not None
    assert len(allowed.warrant.ids) == 1
    assert denied(ask(sidecar.options, *question, warrant=warrant)) == ["warrant.proof_missing"]
    other = Ed25519PrivateKey.generate()
    assert denied(ask(sidecar.options, *question, warrant=warrant, proof_key=other)) == ["warrant.proof_invalid"]
    over = ("read", PAYMENT, {"amount": 101})
    assert denied(ask(sidecar.options, *over, warrant=warrant, proof_key=key)) == ["warrant.constraint"]


def test_executions(sidecar: sdk_kit.Sidecar, ask: Asking, tmp_path: Path) -> None:
    with sdk_kit.edge(sidecar, tmp_path / "edge"):
        options = sidecar.options | {"edge": sidecar.edge}
        once = [sidecar.warrant(uses=1)]
        assert denied(ask(options, "read", PAYMENT, {"amount": 1}, warrant=once)) == ["warrant.needs_execution"]
        questions = [("read", PAYMENT, {"amount": 2}), ("read", PAYMENT, {"amount": 101}), ("mask", PAYMENT, {})]
        found = run(ask.kind, options, once, questions, id="execution-0123456789")
        assert [decision.codes for decision in found] == [[], ["execution.scope"], ["execution.scope"]]
        assert found[0].execution == "execution-0123456789"
        # It ended with its block, for good. With another id the warrant is spent.
        with pytest.raises(Denied, match=r"execution\.ended"):
            run(ask.kind, options, once, questions, id="execution-0123456789")
        with pytest.raises(Denied) as caught:
            run(ask.kind, options, once, questions)
        assert denied(caught.value.decision) == ["warrant.spent"]
        with pytest.raises(Denied, match=r"request\.malformed"):
            run(ask.kind, options, once, questions, id="short")


def test_a_start_that_is_tried_again_counts_once(sidecar: sdk_kit.Sidecar, tmp_path: Path) -> None:
    with sdk_kit.edge(sidecar, tmp_path / "edge"), Placet(**(sidecar.options | {"edge": sidecar.edge})) as placet:
        start: dict[str, Any] = {"warrant": [sidecar.warrant(uses=1)], "id": "execution-0123456789"}
        with placet.execution("read", PAYMENT, {"amount": 1}, **start) as first:
            with placet.execution("read", PAYMENT, {"amount": 1}, **start) as again:
                assert again.decide("read", PAYMENT, {"amount": 2}).allow
            assert first.id == again.id


def run(kind: str, options: Any, warrant: list[str], questions: list[Any], id: str | None = None) -> list[Decision]:
    start = ("read", PAYMENT, {"amount": 1})
    if kind == "sync":
        with Placet(**options) as placet, placet.execution(*start, warrant=warrant, id=id) as execution:
            execution.renew()
            return [execution.decide(*question) for question in questions]

    async def asynchronous() -> list[Decision]:
        async with (
            AsyncPlacet(**options) as placet,
            placet.execution(*start, warrant=warrant, id=id) as execution,
        ):
            await execution.renew()
            return [await execution.decide(*question) for question in questions]

    return anyio.run(asynchronous)


# ---- what goes away ----------------------------------------------------------------------------------------------


def test_a_unix_socket(ask: Asking, tmp_path: Path) -> None:
    with sdk_kit.running(tmp_path / "opa", unix=True) as sidecar:
        options = {"url": sidecar.url, "identity": sidecar.token}
        assert ask(options).allow
        assert denied(ask(options, "refund", PAYMENT)) == ["policy.denied"]
        sidecar.server.write(sidecar.trust(seconds=0.1))
        time.sleep(0.2)
        assert denied(ask(options)) == ["lease.expired"]
    assert denied(ask(options)) == ["sidecar.unreachable"]


def test_undefined(ask: Asking, tmp_path: Path) -> None:
    """An OPA without a bundle answers `{}`."""
    with sdk_kit.running(tmp_path / "opa", unix=True, files=None, governed=False) as sidecar:
        assert denied(ask({"url": sidecar.url, "identity": sidecar.token})) == ["decision.undefined"]


def test_what_opa_refuses(ask: Asking, tmp_path: Path) -> None:
    config = {"server": {"decoding": {"max_length": 8192}}}
    with sdk_kit.running(tmp_path / "opa", unix=True, config=config) as sidecar:
        options = {"url": sidecar.url, "identity": sidecar.token}
        assert denied(ask(options, "read", PAYMENT, {"text": "x" * 9000})) == ["request.malformed"]


def test_a_slow_answer_and_a_restart(tmp_path: Path) -> None:
    """One client through an OPA that hangs, dies and comes back on the same port."""
    port = free_port()
    with sdk_kit.running(tmp_path / "opa", port=port) as sidecar:
        placet = Placet(sidecar.url, ca=sidecar.ca, identity=sidecar.token(), timeout=1)
        assert placet.decide("read", PAYMENT).allow
        os.kill(sidecar.server.process.pid, signal.SIGSTOP)
        time.sleep(0.2)  # until it has stopped on every core
        begun = time.monotonic()
        assert denied(placet.decide("read", PAYMENT)) == ["sidecar.unreachable"]
        assert 0.9 < time.monotonic() - begun < 15
        os.kill(sidecar.server.process.pid, signal.SIGCONT)
        # The answer to the question that was given up is never taken for the answer to this one.
        assert denied(placet.decide("refund", PAYMENT, timeout=10)) == ["policy.denied"]
        sidecar.server.process.kill()
        sidecar.server.process.wait()
        assert denied(placet.decide("read", PAYMENT)) == ["sidecar.unreachable"]
    with sdk_kit.running(tmp_path / "opa", port=port) as sidecar:
        assert placet.decide("read", PAYMENT, identity=sidecar.token(), timeout=10).allow
        placet.close()


# ---- opa-python-client, as the sample service uses it ------------------------------------------------------------


def input_of(sidecar: sdk_kit.Sidecar, action: str = "read", **context: Any) -> dict[str, Any]:
    return stand.request(sidecar.token(), action={"name": action}, context=context)


def test_opa_python_client(sidecar: sdk_kit.Sidecar, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    SidecarCA.open(tmp_path / "ca.key", tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    port = int(sidecar.url.rsplit(":", 1)[1])
    governed = Governed(port, sidecar.ca)
    assert governed.decide(input_of(sidecar)).allow
    assert denied(governed.decide(input_of(sidecar, "refund"))) == ["policy.denied"]
    assert denied(governed.decide(input_of(sidecar, "mask"))) == ["obligation.unfulfilled"]
    assert denied(governed.decide(input_of(sidecar, "break", left=1, right=2))) == ["evaluation.error"]
    assert denied(governed.decide(input_of(sidecar, amount=float("nan")))) == ["request.malformed"]
    assert denied(governed.decide(input_of(sidecar, text="\ud800"))) == ["request.malformed"]
    assert denied(Governed(port, tmp_path / "ca.pem").decide(input_of(sidecar))) == ["sidecar.unreachable"]
    assert denied(Governed(free_port(), sidecar.ca).decide(input_of(sidecar))) == ["sidecar.unreachable"]
    with pytest.raises(SystemExit, match="no CA certificate"):
        Governed(port, tmp_path / "missing.pem")
    with Impostor(free_port()) as impostor:
        decision = Governed(impostor.port, sidecar.ca).decide(input_of(sidecar))
        assert decision == Decision.deny("sidecar.unreachable", "SSLError")
        assert not impostor.requests


#: Answers, by the code of the denial that each is.
LIES = {
    "{}": (200, b"{}", "decision.undefined"),
    "null": (200, b'{"decision_id":"d-1","result":null}', "decision.undefined"),
    "no JSON": (200, b"allow", "decision.malformed"),
    "nothing": (200, b"", "decision.malformed"),
    "true": (200, b'{"decision_id":"d-1","result":true}', "decision.malformed"),
    "cut": (200, fake.answer()[:-1], "decision.malformed"),
    "no end": (200, fake.answer(expires_at=None), "decision.malformed"),
    "deep": (200, b"[" * 100_000, "decision.malformed"),
    "long number": (200, b'{"result":' + b"9" * 5_000 + b"}", "decision.malformed"),
    "both": (200, fake.answer().replace(b'"allow": true', b'"allow": false, "allow": true'), "decision.malformed"),
    "201": (201, fake.answer(), "decision.malformed"),
    "307": (307, fake.answer(), "decision.malformed"),
    "400": (400, fake.answer(), "request.malformed"),
    "500": (500, fake.answer(), "evaluation.error"),
    "503": (503, fake.answer(), "decision.malformed"),
}


def test_opa_python_client_believes_no_lie(tmp_path: Path) -> None:
    leaf = tmp_path / "tls.pem", tmp_path / "tls.key"
    SidecarCA.open(tmp_path / "ca.key", tmp_path / "ca.pem").server_leaf(*leaf)
    with fake.running(tls=leaf) as liar:
        governed = Governed(int(liar.url.rsplit(":", 1)[1]), tmp_path / "ca.pem")
        asked = stand.request("a.b.c")
        assert governed.decide(asked).allow
        for name, (status, body, code) in LIES.items():
            liar.behaviour = fake.says(fake.http(status, body, f"Location: {liar.url}/elsewhere\r\n"))
            assert (name, denied(governed.decide(asked))) == (name, [code])
        for behaviour in (liar.silent, liar.hang_up, fake.says(b"SSH-2.0-OpenSSH\r\n\r\n")):
            liar.behaviour = behaviour
            assert denied(governed.decide(asked)) == ["sidecar.unreachable"]
        assert {one.path for one in liar.received} == {"/v1/data/placet/decision"}


def test_the_sample_service(sidecar: sdk_kit.Sidecar) -> None:
    """It answers 403 with problem+json to what is denied."""
    service = create_app(Governed(int(sidecar.url.rsplit(":", 1)[1]), sidecar.ca))
    good = {"Authorization": f"Bearer {sidecar.token()}"}

    async def call(method: str, path: str, **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://service") as browser:
            return await browser.request(method, path, **more)

    assert anyio.run(partial(call, "GET", "/payments/p-1", headers=good)).json() == {"payment": "p-1"}
    denied = anyio.run(partial(call, "POST", "/payments/p-1/refunds", headers=good, json={"amount": 1}))
    assert (denied.status_code, denied.headers["content-type"]) == (403, "application/problem+json")
    assert denied.json()["reasons"][0]["code"] == "policy.denied"
    assert anyio.run(partial(call, "GET", "/payments/p-1")).json()["reasons"][0]["code"] == "identity.malformed"


def test_the_load_of_the_demo_reads_by_the_sdk(sidecar: sdk_kit.Sidecar) -> None:
    port = int(sidecar.url.rsplit(":", 1)[1])
    with Load(port, sidecar.ca, input_of(sidecar), callers=2) as load:
        time.sleep(0.5)
    assert set(load.outcomes()) == {"allow"}
    assert len(load.answered()) == len(load.answers) > 0
    caller = Caller(port, sidecar.ca)
    answers = [caller.ask(input_of(sidecar, action, left=1, right=2)) for action in ("refund", "break")]
    assert [answer.codes for answer in answers] == [["policy.denied"], ["evaluation.error"]]
    assert [bool(answer.decision_id) for answer in answers] == [True, False]
    caller.close()
    assert Caller(free_port(), sidecar.ca).ask(input_of(sidecar)).codes == ["sidecar.unreachable"]
