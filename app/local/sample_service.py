"""A small service that asks OPA before it acts: what a team would write, with opa-python-client.

It denies on every error, on an undefined answer and on an empty one. Run it with
`python -m app.local.sample_service --opa-port 8181 --ca /var/lib/placet/ca.pem --port 8480`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated, Any

import requests
import uvicorn
from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from opa_client.opa import OpaClient
from pydantic import BaseModel

from app.core.reason_codes import Reason
from placet_sdk import Decision, problem, read_answer, read_response
from placet_sdk.strict_json import decode, encode

#: Seconds to wait for a decision. A late answer is a denial.
TIMEOUT = 2.0
#: The types of obligations that this service fulfils; an allow with any other is a denial to it.
FULFILS = {"review"}


class Refund(BaseModel):
    """What a caller asks to give back."""

    amount: int
    currency: str = "EUR"


class Governed:
    """Asks the sidecar's OPA for decisions."""

    def __init__(self, port: int, ca: Path) -> None:
        """`ca`: the sidecar's own CA certificate. Without it any process on that port would be believed."""
        if not ca.is_file():
            # opa-python-client would fall back to plain HTTP if it were given nothing to verify with.
            raise SystemExit(f"there is no CA certificate at {ca}")
        self._client = OpaClient(host="127.0.0.1", port=port, ssl=str(ca), timeout=TIMEOUT, retries=0)
        # REQUESTS_CA_BUNDLE would replace the pinned CA, and HTTPS_PROXY would be asked even for 127.0.0.1.
        self._client._session.trust_env = False
        self._client._session.hooks["response"].append(_strictly)

    def decide(self, request: dict[str, Any]) -> Decision:
        """The decision about `request`; a denial whenever there is none."""
        try:
            encode(request)  # requests would send what JSON readers disagree about
        except ValueError as error:
            return Decision.deny(Reason.REQUEST_MALFORMED, str(error))
        try:
            answer = self._client.query_rule(request, "placet", "decision")
        except requests.HTTPError as error:
            return read_response(error.response.status_code, error.response.content)
        except (requests.RequestException, OSError) as error:
            return Decision.deny(Reason.SIDECAR_UNREACHABLE, f"{type(error).__name__}")
        except ValueError as error:
            return Decision.deny(Reason.DECISION_MALFORMED, str(error)[:200])
        return read_answer(answer).fulfilled_by(FULFILS)


def _strictly(response: requests.Response, **_: Any) -> None:
    """Status 200 alone is an answer, and no redirect is followed; JSON is read as the SDK reads it."""
    if response.status_code != requests.codes.ok:
        raise requests.HTTPError(response=response)
    raw = response.content
    response.json = lambda **_: decode(raw)  # type: ignore[method-assign]


def create_app(governed: Governed) -> FastAPI:
    """The service: it shows and refunds payments, if that is approved."""
    app = FastAPI(title="payments (sample)")

    def ask(action: str, payment: str, authorization: str, context: dict[str, Any]) -> Decision:
        return governed.decide(
            {
                "identity": {"token": authorization.removeprefix("Bearer ")},
                "action": {"name": action},
                "resource": {"type": "payment", "id": payment},
                "context": context,
            }
        )

    @app.get("/payments/{payment}")
    def read(payment: str, authorization: Annotated[str, Header()] = "") -> JSONResponse:
        decision = ask("read", payment, authorization, {})
        return _answer(decision, {"payment": payment})

    @app.post("/payments/{payment}/refunds")
    def refund(payment: str, body: Refund, authorization: Annotated[str, Header()] = "") -> JSONResponse:
        decision = ask("refund", payment, authorization, body.model_dump())
        return _answer(decision, {"refunded": body.amount, "obligations": list(decision.obligations)})

    return app


def _answer(decision: Decision, result: dict[str, Any]) -> JSONResponse:
    if decision.allow:
        return JSONResponse(result)
    return JSONResponse(problem(decision), 403, media_type="application/problem+json")


def main() -> None:
    """Serve on loopback."""
    parser = argparse.ArgumentParser(description="A sample service under governance")
    parser.add_argument("--opa-port", type=int, required=True)
    parser.add_argument("--ca", type=Path, required=True, help="the sidecar's ca.pem")
    parser.add_argument("--port", type=int, default=8480)
    arguments = parser.parse_args()
    app = create_app(Governed(arguments.opa_port, arguments.ca))
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
