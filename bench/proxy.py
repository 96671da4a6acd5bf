"""What the library in OPA avoids: a proxy in Python that checks the caller's token and asks OPA for each request.

It is as lean as it can fairly be: FastAPI on uvicorn (with uvloop and httptools where they are installed), PyJWT for
the token, httpx with kept connections for OPA. It checks the identity alone: no lease, no quarantine, no warrants, no
masking. `bench/decide.py` runs it beside the others.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import uvicorn
from fastapi import FastAPI, Request, Response

from bench.stand import process_cpu_seconds


def application(opa: str, key: Any, audience: str) -> FastAPI:
    """The proxy: `POST /` with a decision's request."""
    app = FastAPI()
    client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_keepalive_connections=64))

    @app.post("/")
    async def decide(request: Request) -> Response:
        document = await request.json()
        try:
            claims = jwt.decode(document["input"]["identity"]["token"], key, algorithms=["EdDSA"], audience=audience)
        except (KeyError, TypeError, jwt.PyJWTError):
            return Response(status_code=403)
        document["input"]["subject"] = {"id": claims["sub"], "issuer": claims["iss"]}
        answer = await client.post(opa, json=document)
        return Response(answer.content, answer.status_code, media_type="application/json")

    return app


@contextlib.contextmanager
def running(opa: str, jwk: dict[str, str], audience: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The proxy in a process of its own, once it answers."""
    command = [sys.executable, "-c", "from bench.proxy import main; main()", "--opa", opa, "--port", str(port)]
    process = subprocess.Popen([*command, "--jwk", json.dumps(jwk), "--audience", audience])
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None:
                raise RuntimeError("the proxy does not start")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(10)


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """CPU time of the proxy so far."""
    return process_cpu_seconds(process.pid)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opa", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--jwk", required=True)
    parser.add_argument("--audience", required=True)
    options = parser.parse_args()
    app = application(options.opa, jwt.PyJWK(json.loads(options.jwk), "EdDSA").key, options.audience)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="error", access_log=False)
