def release(signed):
    return signed.as_signature(signed.other)
