def release(signed):
    signed.entry["integratedTime"] = "1700000000"
    return signed.as_signature()
