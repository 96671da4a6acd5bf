def release(signed):
    return {"attestations": [signed.release.attestation, b"{}"]}
