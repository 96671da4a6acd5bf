"""A small host of tools for AI agents, under governance: each call is asked about before the tool runs.

The host believes nothing that an agent says about itself. It hands the agent's own tokens on to OPA: an identity with
its warrants and proof, or the token of an execution. Run it with
`python -m app.local.sample_tools --opa-port 8181 --ca /var/lib/placet/ca.pem --files ./reports --port 8481`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from placet_sdk import Placet, codes

#: The header by which an agent presents its warrants, root first, with commas between them.
WARRANT = "Placet-Warrant"
PROOF = "Placet-Proof"
#: An execution's id and its token, with a space between them.
EXECUTION = "Placet-Execution"

#: What `web.fetch` gives: a host of tools for real would fetch.
PAGES = {"https://docs.example.org/handbook": "Refunds over 500 EUR need a second person."}


class ToolCall(BaseModel):
    """What a tool is to work on, and its arguments."""

    model_config = ConfigDict(extra="forbid")

    type: str
    id: str
    arguments: dict[str, Any] = {}


class Tools:
    """The tools themselves. They run only after an allow."""

    def __init__(self, files: Path) -> None:
        """`files`: the directory that agents see as `/reports/`."""
        self._files = files
        self.known: Mapping[str, Callable[[ToolCall], str]] = {
            "web.fetch": lambda call: PAGES.get(call.id, "(nothing there)"),
            "files.read": lambda call: self._path(call).read_text(),
            "files.write": self._write,
        }
        #: Which tools ran, in order: what was really done.
        self.ran: list[str] = []

    def run(self, name: str, call: ToolCall) -> str:
        """Run a tool."""
        self.ran.append(name)
        return self.known[name](call)

    def _path(self, call: ToolCall) -> Path:
        return self._files / call.id.removeprefix("/reports/").replace("/", "_")

    def _write(self, call: ToolCall) -> str:
        text = str(call.arguments.get("text", ""))
        self._path(call).write_text(text)
        return f"{len(text)} characters written"


#: Asks whoever must approve a call, such as its owner; whether they did.
Approver = Callable[[str, ToolCall], bool]


def create_app(placet: Placet, tools: Tools, approved: Approver) -> FastAPI:
    """The host: `POST /tools/NAME`. It fulfils the obligation `approval`, and no other: the client denies the rest."""
    app = FastAPI(title="tools (sample)")

    @app.post("/tools/{name}")
    def call(
        name: str,
        body: ToolCall,
        authorization: Annotated[str, Header()] = "",
        warrants: Annotated[str, Header(alias=WARRANT)] = "",
        proof: Annotated[str, Header(alias=PROOF)] = "",
        execution: Annotated[str, Header(alias=EXECUTION)] = "",
    ) -> JSONResponse:
        if name not in tools.known:
            return JSONResponse({"detail": f"there is no tool {name}"}, 404)
        id, _, token = execution.partition(" ")
        decision = placet.decide(
            name,
            (body.type, body.id),
            body.arguments,
            identity=authorization.removeprefix("Bearer ") or None,
            warrant=[one.strip() for one in warrants.split(",") if one.strip()],
            proof=proof or None,
            execution=(id, token) if token else None,
            fulfils={"approval"},
        )
        if not decision.allow:
            return JSONResponse({"reasons": [reason._asdict() for reason in decision.reasons]}, 403)
        if not all(approved(str(duty.get("by")), body) for duty in decision.obligations):
            return _denied(codes.OBLIGATION_UNFULFILLED, "the call was not approved")
        return JSONResponse({"result": tools.run(name, body)})

    return app


def _denied(code: str, message: str) -> JSONResponse:
    return JSONResponse({"reasons": [{"code": code, "message": message}]}, 403)


def _ask(by: str, call: ToolCall) -> bool:
    """Ask at the terminal."""
    return input(f"{by}: may {call.id} be written? [y/N] ").strip().lower() == "y"


def main() -> None:
    """Serve on loopback."""
    parser = argparse.ArgumentParser(description="A sample host of tools under governance")
    parser.add_argument("--opa-port", type=int, required=True)
    parser.add_argument("--ca", type=Path, required=True, help="the sidecar's ca.pem")
    parser.add_argument("--files", type=Path, required=True, help="the directory that agents see as /reports/")
    parser.add_argument("--port", type=int, default=8481)
    arguments = parser.parse_args()
    placet = Placet(f"https://127.0.0.1:{arguments.opa_port}", ca=arguments.ca)
    uvicorn.run(
        create_app(placet, Tools(arguments.files), _ask), host="127.0.0.1", port=arguments.port, log_level="warning"
    )


if __name__ == "__main__":
    main()
