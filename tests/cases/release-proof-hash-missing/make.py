def release(signed):
    signed.entry["inclusionProof"]["hashes"].pop()
    return signed.as_signature()
