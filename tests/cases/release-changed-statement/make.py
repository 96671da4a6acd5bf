import base64
import json


def release(signed):
    """The same statement in other bytes."""
    text = json.dumps({**signed.statement(), "predicateType": "https://slsa.dev/provenance/v1"}, indent=1)
    signed.signature["dsseEnvelope"]["payload"] = base64.b64encode(text.encode()).decode()
    return signed.as_signature()
