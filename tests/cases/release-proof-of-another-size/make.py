def release(signed):
    signed.entry["inclusionProof"]["treeSize"] = str(int(signed.entry["inclusionProof"]["treeSize"]) + 1)
    return signed.as_signature()
