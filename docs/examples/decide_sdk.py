"""Asks Placet's sidecar with the SDK: `decide_sdk.py ACTION TYPE ID` prints "allow", or "deny CODE" with exit code 3.

PLACET_CA names the sidecar's ca.pem, PLACET_TOKEN_FILE the caller's token, PLACET_URL the sidecar if it is elsewhere.
"""

import os
import sys

from placet_sdk import Placet, TokenFile

#: Keep one for the life of the process. The token is read anew for each question.
placet = Placet(
    os.environ.get("PLACET_URL", "https://127.0.0.1:8181"),
    ca=os.environ["PLACET_CA"],
    identity=TokenFile(os.environ["PLACET_TOKEN_FILE"]),
)

if __name__ == "__main__":
    action, kind, id = sys.argv[1:4]
    decision = placet.decide(action, (kind, id), {})
    print("allow" if decision.allow else f"deny {decision.codes[0]}")
    sys.exit(0 if decision.allow else 3)
