def release(signed):
    """The entry is valid, and about another signature."""
    signed.signature["verificationMaterial"]["tlogEntries"] = signed.other["verificationMaterial"]["tlogEntries"]
    return signed.as_signature()
