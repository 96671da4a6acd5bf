from app.core.verification_policy import SignerPattern, VerificationPolicy


def release(signed):
    """The signer is of example.org, and another host of that look was meant."""
    issuer = signed.release.sigstore.issuer_url
    return {"policy": VerificationPolicy(identities=[SignerPattern(pattern=r"^[a-z]+@example\.or\.g$", issuer=issuer)])}
