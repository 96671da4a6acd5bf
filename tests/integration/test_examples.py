"""The examples of docs/examples, in every language, against a real OPA and against everything that can go wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import playwright
import pytest

from app.local.tools.go import environment, find_go
from app.sidecar.pki import SidecarCA
from tests.integration import sdk_kit
from tests.unit.sdk import fake

pytestmark = [pytest.mark.stack]

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
PYTHON = [sys.executable]


def node() -> str:
    """Node 22.18 or newer, which runs TypeScript as it is: from the PATH, else the one that playwright brings."""
    for found in (shutil.which("node"), Path(playwright.__file__).parent / "driver" / "node"):
        if found:
            version = subprocess.run(
                [found, "--version"], capture_output=True, text=True, timeout=30, check=True
            ).stdout
            if tuple(map(int, re.findall(r"\d+", version)[:2])) >= (22, 18):
                return str(found)
    raise AssertionError("no Node 22.18 or newer: install the development requirements")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """How each example is run. Go's is built first."""
    directory = tmp_path_factory.mktemp("go")
    go = find_go((1, 24), print)
    built = [str(go.binary), "build", "-o", str(directory / "decide"), str(EXAMPLES / "decide.go")]
    subprocess.run(built, cwd=directory, env=environment(directory), timeout=300, check=True)
    return {
        "curl": ["bash", str(EXAMPLES / "decide.sh")],
        "httpx": [*PYTHON, str(EXAMPLES / "decide.py")],
        "sdk": [*PYTHON, str(EXAMPLES / "decide_sdk.py")],
        "go": [str(directory / "decide")],
        "typescript": [node(), str(EXAMPLES / "decide.ts")],
    }


LANGUAGES = ["curl", "httpx", "sdk", "go", "typescript"]


@pytest.fixture(params=LANGUAGES)
def command(request: pytest.FixtureRequest, commands: dict[str, list[str]]) -> list[str]:
    return commands[request.param]


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sdk_kit.Sidecar]:
    with sdk_kit.running(tmp_path_factory.mktemp("opa") / "tls") as running:
        (running.ca.parent / "token").write_text(running.token() + "\n")
        (running.ca.parent / "token").chmod(0o600)
        yield running


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fake.Sidecar]:
    """A sidecar with the right certificate and wrong answers."""
    directory = tmp_path_factory.mktemp("liar")
    SidecarCA.open(directory / "ca.key", directory / "ca.pem").server_leaf(directory / "tls.pem", directory / "tls.key")
    (directory / "token").write_text("a.b.c\n")
    with fake.running(tls=(directory / "tls.pem", directory / "tls.key")) as running:
        running.directory = directory  # type: ignore[attr-defined]
        yield running


def run(command: list[str], url: str, directory: Path, action: str = "read", **environ: str) -> tuple[int, str]:
    """Exit code and output. The environment tries to lead the example astray."""
    environ = {
        **os.environ, "PLACET_URL": url, "PLACET_CA": str(directory / "ca.pem"),
        "PLACET_TOKEN_FILE": str(directory / "token"),
        "HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9",
        "NODE_TLS_REJECT_UNAUTHORIZED": "0", "NODE_NO_WARNINGS": "1", **environ,
    }  # fmt: skip
    for name in ("NO_PROXY", "no_proxy"):
        environ.pop(name, None)
    done = subprocess.run([*command, action, "payment", "p-1"], env=environ, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout.strip() or done.stderr


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("read", "allow"),
        ("note", "allow"),
        ("refund", "deny policy.denied"),
        ("mask", "deny obligation.unfulfilled"),
        ("", "deny request.malformed"),
    ],
)
def test_decisions(command: list[str], sidecar: sdk_kit.Sidecar, action: str, said: str) -> None:
    assert run(command, sidecar.url, sidecar.ca.parent, action) == (0 if said == "allow" else 3, said)


def test_a_conflict_is_an_evaluation_error(command: list[str], tmp_path: Path, sidecar: sdk_kit.Sidecar) -> None:
    policy = {"tests/authz.rego": "package tests.authz\n\ndecision := true\n\ndecision := input.action.name == 1\n"}
    files = sdk_kit.stand.composed(policy, "tests/authz/decision", ["tests"])
    with sdk_kit.running(tmp_path / "opa", files=files) as broken:
        (broken.ca.parent / "token").write_text(broken.token())
        (broken.ca.parent / "token").chmod(0o600)
        assert run(command, broken.url, broken.ca.parent) == (3, "deny evaluation.error")


def test_a_dead_sidecar(command: list[str], sidecar: sdk_kit.Sidecar) -> None:
    url = f"https://127.0.0.1:{sdk_kit.free_port()}"
    assert run(command, url, sidecar.ca.parent) == (3, "deny sidecar.unreachable")


def test_another_authority_is_not_believed(command: list[str], sidecar: sdk_kit.Sidecar, tmp_path: Path) -> None:
    SidecarCA.open(tmp_path / "ca.key", tmp_path / "ca.pem")
    (tmp_path / "token").write_text("a.b.c")
    wrong = {
        "SSL_CERT_FILE": str(sidecar.ca),
        "CURL_CA_BUNDLE": str(sidecar.ca),
        "NODE_EXTRA_CA_CERTS": str(sidecar.ca),
    }
    assert run(command, sidecar.url, tmp_path, **wrong) == (3, "deny sidecar.unreachable")


LIES = {
    "undefined": (200, b"{}", "decision.undefined"),
    "null": (200, b'{"decision_id":"d-1","result":null}', "decision.undefined"),
    "no object": (200, b"[]", None),
    "no JSON": (200, b"allow", "decision.malformed"),
    "true": (200, b'{"decision_id":"d-1","result":true}', "decision.malformed"),
    "allow alone": (200, b'{"decision_id":"d-1","result":{"allow":true}}', "decision.malformed"),
    "allow as text": (200, fake.answer().replace(b"true", b'"true"'), "decision.malformed"),
    "no state": (200, fake.answer(state=None), "decision.malformed"),
    "no subject": (200, fake.answer(subject=None), "decision.malformed"),
    "no end": (200, fake.answer(expires_at=None), "decision.malformed"),
    "no obligations": (200, fake.answer(obligations=...), "decision.malformed"),
    "a reason to deny": (200, fake.answer(reasons=[{"code": "lease.expired", "message": ""}]), "decision.malformed"),
    "a denial without reason": (200, fake.answer(False, reasons=[]), "decision.malformed"),
    "too long": (200, fake.answer(later="x" * (1 << 21)), None),
    "400": (400, fake.answer(), "request.malformed"),
    "a number": (500, b'{"code": "internal_error", "message": "invalid number: number too big"}', "request.malformed"),
    "another 500": (500, b'{"code": "internal_error", "message": "no"}', "evaluation.error"),
    "401": (401, fake.answer(), "decision.malformed"),
    "503": (503, fake.answer(), "decision.malformed"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies(command: list[str], liar: fake.Sidecar, lie: str) -> None:
    status, body, code = LIES[lie]
    liar.behaviour = fake.says(fake.http(status, body))
    code_given, said = run(command, liar.url, liar.directory)  # type: ignore[attr-defined]
    if code is not None:
        assert (code_given, said) == (3, f"deny {code}")
    else:
        assert (code_given, said.split()[0]) == (3, "deny")


def test_a_redirect_is_not_followed(command: list[str], liar: fake.Sidecar, sidecar: sdk_kit.Sidecar) -> None:
    to = f"Location: {sidecar.url}/v1/data/placet/decision\r\n"
    liar.behaviour = fake.says(fake.http(307, fake.answer(), to))
    assert run(command, liar.url, liar.directory) == (3, "deny decision.malformed")  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["silent", "hang_up", "drip"])
def test_no_answer(command: list[str], liar: fake.Sidecar, how: str) -> None:
    body = fake.http(200, fake.answer())
    liar.behaviour = {"silent": liar.silent, "hang_up": liar.hang_up, "drip": liar.drip(body, 0.02)}[how]
    assert run(command, liar.url, liar.directory) == (3, "deny sidecar.unreachable")  # type: ignore[attr-defined]
