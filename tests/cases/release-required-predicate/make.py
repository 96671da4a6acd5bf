def release(signed):
    """There is an attestation, but not of the type that is required."""
    required = ["https://in-toto.io/attestation/test-result/v0.1"]
    return {"policy": signed.release.allow(required_predicates=required)}
