"""The snippets of docs/sdk.md and of the SDK's README run as they stand, against a real OPA and a real edge."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.sidecar.pki import SidecarCA
from bench import stand
from tests.integration import sdk_kit
from tests.unit.sdk import fake

pytestmark = [pytest.mark.stack]

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = "spiffe://example.org/support"


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sdk_kit.Sidecar]:
    """With the example policy for payments."""
    directory = tmp_path_factory.mktemp("opa")
    files = stand.composed(*stand.example("payments"))
    with sdk_kit.running(directory / "tls", files=files) as running, sdk_kit.edge(running, directory / "edge"):
        (running.ca.parent / "token").write_text(running.token(sub=SUPPORT))
        (running.ca.parent / "token").chmod(0o600)
        yield running


def snippets(page: str, sidecar: sdk_kit.Sidecar) -> list[str]:
    """The page's Python, with this machine's addresses and files."""
    text = (ROOT / page).read_text()
    port = sidecar.url.rsplit(":", 1)[1]
    here = {
        "https://127.0.0.1:8181": sidecar.url,
        "https://127.0.0.1:8182": sidecar.edge,
        "port=8181": f"port={port}",
        "Placet(ca=": f'Placet("{sidecar.url}", ca=',
        "/var/lib/placet-sidecar/ca.pem": str(sidecar.ca),
        "/var/run/secrets/tokens/placet": str(sidecar.ca.parent / "token"),
    }
    for there, replacement in here.items():
        text = text.replace(there, replacement)
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def execute(snippet: str, names: dict[str, Any]) -> str:
    """Run a snippet, which may await; what it printed."""
    code = compile(snippet, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        awaited = eval(code, names)
        if awaited is not None:
            asyncio.run(awaited)
    return printed.getvalue().strip()


def test_the_page(sidecar: sdk_kit.Sidecar) -> None:
    names: dict[str, Any] = {"__name__": "snippet"}
    ask, require, obligations, decorate, web, everything, execution, steps, opa = snippets("docs/sdk.md", sidecar)
    assert execute(ask, names).startswith(f"refunded for {SUPPORT} until 20")
    assert execute(require, names) == "['policy.denied', 'policy:over_limit']"
    assert execute(obligations, names) == "to be reviewed in refunds"
    assert re.fullmatch(r"40 EUR, decision [0-9a-f-]{36}", execute(decorate, names))
    assert execute(web, names) == ""
    good, none = {"Authorization": f"Bearer {sidecar.token(sub=SUPPORT)}"}, {}
    assert call(names["app"], "POST", "/payments/p-1/refunds", good, amount=200) == (200, {"refunded": 200})
    assert call(names["app"], "POST", "/payments/p-1/refunds", good, amount=900)[0] == 403
    assert call(names["app"], "POST", "/payments/p-1/refunds", none, amount=200)[0] == 403
    assert call(names["app"], "GET", "/payments/p-1", good)[1]["payment"] == "p-1"
    status, problem = call(names["app"], "GET", "/payments/p-1", none)
    assert (status, problem["reasons"][0]["code"]) == (403, "identity.missing")
    assert execute(everything, names) == ""
    names["guarded"].add_api_route("/{path:path}", lambda path: path)
    assert call(names["guarded"], "GET", "/healthz", none) == (200, "healthz")
    assert call(names["guarded"], "GET", "/payments/p-1", good) == (200, "payments/p-1")
    assert call(names["guarded"], "GET", "/payments/p-1", none)[0] == 403
    assert call(names["guarded"], "GET", "/else", good)[0] == 403
    assert execute(execution, names) == "True"
    assert re.fullmatch(r"step 1 is number \d+ of the journal", execute(steps, names))
    assert execute(opa, names) == ""
    asked = stand.request(sidecar.token(sub=SUPPORT))
    assert names["ask"](asked).allow
    assert names["ask"](asked | {"context": {"amount": 200, "currency": "EUR"}}).obligations
    assert names["ask"](asked | {"context": {"amount": float("nan")}}).codes == ["request.malformed"]
    assert names["ask"]({}).codes[0] == "request.malformed"
    leaf = sidecar.ca.with_name("liar.pem"), sidecar.ca.with_name("liar.key")
    SidecarCA.open(sidecar.ca.with_name("ca.key"), sidecar.ca).server_leaf(*leaf)
    with fake.running(tls=leaf) as liar:
        execute(re.sub(r"port=\d+", f"port={liar.url.rsplit(':', 1)[1]}", opa), names)
        assert names["ask"](asked).allow
        for status, body in ((200, b'{"allow":false,"allow":true}'), (200, b"[" * 100_000), (201, fake.answer())):
            liar.behaviour = fake.says(fake.http(status, body))
            assert names["ask"](asked).codes == ["decision.malformed"]


def test_the_readme(sidecar: sdk_kit.Sidecar) -> None:
    [snippet] = snippets("sdk/README.md", sidecar)
    names: dict[str, Any] = {}
    assert execute(snippet, names) == ""
    assert names["placet"].decide("refund", ("payment", "p-1"), {"amount": 501, "currency": "EUR"}).codes == [
        "policy.denied",
        "policy:over_limit",
    ]


def call(app: Any, method: str, path: str, headers: dict[str, str], **body: Any) -> tuple[int, Any]:
    async def asynchronous() -> tuple[int, Any]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as browser:
            answer = await browser.request(method, path, headers=headers, json=body or None)
            return answer.status_code, answer.json()

    return asyncio.run(asynchronous())
