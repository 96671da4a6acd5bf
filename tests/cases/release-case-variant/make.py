def release(signed):
    signed.signature["DsseEnvelope"] = signed.other["dsseEnvelope"]
    return signed.as_signature()
