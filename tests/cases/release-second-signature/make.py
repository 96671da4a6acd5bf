def release(signed):
    signed.signature["dsseEnvelope"]["signatures"] *= 2
    return signed.as_signature()
