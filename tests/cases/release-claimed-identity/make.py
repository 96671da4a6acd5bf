def release(signed):
    """Nothing signs the member that claims to name the signer."""
    signed.signature["verificationMaterial"]["identity"] = "root@example.org"
    return {**signed.as_signature(), "policy": signed.release.allow("root@example.org")}
