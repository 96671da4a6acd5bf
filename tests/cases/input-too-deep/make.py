def request(world):
    return b'{"input": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"
