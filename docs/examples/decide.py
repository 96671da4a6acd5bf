"""Asks Placet's sidecar with httpx alone: `decide.py ACTION TYPE ID` prints "allow", or "deny CODE" with exit code 3.

PLACET_CA names the sidecar's ca.pem, PLACET_TOKEN_FILE the caller's token, PLACET_URL the sidecar if it is elsewhere.
The SDK does the same with one line (decide_sdk.py), more strictly.
"""

import json
import os
import ssl
import sys
import time
from pathlib import Path

import httpx

TIMEOUT = 2.0
LONGEST = 1 << 20
CLIENT_CODES = {400: "request.malformed", 500: "evaluation.error"}
REFUSED = b'"message": "invalid number:'  # a number that OPA refuses before it evaluates anything: status 500


def connect() -> httpx.Client:
    """Keep one for the life of the process."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody yet, and reads nothing from the environment
    tls.load_verify_locations(os.environ["PLACET_CA"])
    url = os.environ.get("PLACET_URL", "https://127.0.0.1:8181")
    return httpx.Client(base_url=url, verify=tls, timeout=TIMEOUT, trust_env=False)


def decide(client: httpx.Client, action: str, kind: str, id: str) -> str:
    """Give "allow", or the code of a denial. Only a whole allow allows; this caller fulfils no obligations."""
    request = {
        "identity": {"token": Path(os.environ["PLACET_TOKEN_FILE"]).read_text().strip()},
        "action": {"name": action},
        "resource": {"type": kind, "id": id},
        "context": {},
    }
    body, deadline = b"", time.monotonic() + TIMEOUT
    try:
        with client.stream("POST", "/v1/data/placet/decision", json={"input": request}) as answer:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > LONGEST:
                    return "decision.malformed"
                if time.monotonic() > deadline:  # httpx's own timeout starts anew with every read
                    return "sidecar.unreachable"
    except httpx.HTTPError:
        return "sidecar.unreachable"
    if answer.status_code == 500 and REFUSED in body:
        return "request.malformed"
    if answer.status_code != 200:
        return CLIENT_CODES.get(answer.status_code, "decision.malformed")
    try:
        result = json.loads(body).get("result")
        if result is None:
            return "decision.undefined"
        codes = [reason["code"] for reason in result["reasons"]]
        whole = isinstance(result["subject"], dict) and result["state"] and result["expires_at"]
        if result["allow"] is False:
            return codes[0]
        if result["allow"] is not True or not whole or not all(code.startswith("policy:") for code in codes):
            return "decision.malformed"
        return "obligation.unfulfilled" if result["obligations"] != [] else "allow"
    except (ValueError, LookupError, TypeError, AttributeError):
        return "decision.malformed"


if __name__ == "__main__":
    verdict = decide(connect(), *sys.argv[1:4])
    print(verdict if verdict == "allow" else f"deny {verdict}")
    sys.exit(0 if verdict == "allow" else 3)
