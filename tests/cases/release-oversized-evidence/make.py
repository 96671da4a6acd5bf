import json


def release(signed):
    """White space means nothing in JSON, and fills the memory of whoever reads it."""
    return {"signature": json.dumps(signed.signature).encode() + b" " * 1024 * 1024}
