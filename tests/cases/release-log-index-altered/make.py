def release(signed):
    signed.entry["logIndex"] = "4711"
    return signed.as_signature()
