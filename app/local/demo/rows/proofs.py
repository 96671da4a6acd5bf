"""Proofs: one file shows a decision to anybody, without a server."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx

from app.core import strict_json
from app.core.errors import Denied
from app.core.governance import sidecar_id
from app.core.reason_codes import Reason
from app.local.demo.parts import NotSo, eventually
from app.local.demo.rows.table import World, require, row
from app.local.demo.stack import AUTHOR, DOMAIN, SYSTEM


@row("records in signed batches: a proof verifies offline, and one changed byte does not")
def proof(world: World) -> str:
    """Exports the proof of a decision, verifies it with files alone, and then one with another payment's number."""
    stack, decision = world.stack, world.ask(world.first).decision_id
    require(decision, "the answer names no decision")
    file = stack.directory / "proof.json"
    eventually("the record was signed and shipped", lambda: _is_there(world, str(decision)))
    stack.placet("proof", "export", str(decision), "-o", str(file))
    proven = _verify(world, file)
    require(proven["proved"] and proven["decision"] == {"id": decision, "allow": True}, f"proved {proven}")

    document = strict_json.load_object(file.read_bytes())
    record = base64.b64decode(document["record"])
    changed = record.replace(b'"p-1"', b'"p-2"')
    require(sum(one != other for one, other in zip(record, changed, strict=True)) == 1, "no payment in the record")
    forged = stack.directory / "forged.json"
    forged.write_bytes(strict_json.canonical({**document, "record": base64.b64encode(changed).decode()}))
    denied = _verify(world, forged, expect=Denied.exit_code)
    require(denied["reason"] == str(Reason.PROOF_LEAF), f"denied with {denied}")
    log = proven["log"]
    return f"proved by entry {log['index']} of {log['origin']}; p-2 in place of p-1: {denied['reason']}"


def _is_there(world: World, decision: str) -> bool:
    try:
        return bool(world.stack.api(f"/decisions/{decision}/proof"))
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return False
        raise NotSo(f"no proof: {json.loads(error.response.content).get('detail')}") from error


def _verify(world: World, file: Path, expect: int = 0) -> dict[str, Any]:
    """With the files alone: neither address nor token of the control plane is given."""
    stack = world.stack
    return stack.placet(
        "proof", "verify", str(file), "--trust-config", str(stack.sigstore.trust_config),
        "--certificate-identity", sidecar_id(DOMAIN, SYSTEM, world.first.name),
        "--certificate-oidc-issuer", stack.server,
        "--release-identity", AUTHOR, "--release-oidc-issuer", stack.sigstore.issuer_url,
        expect=expect, environment={"PLACET_SERVER": "http://127.0.0.1:1", "PLACET_TOKEN": ""},
    )  # fmt: skip
