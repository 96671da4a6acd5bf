from app.core.verification_policy import SignerPattern, VerificationPolicy


def release(signed):
    """The attestation is a link, which signs for a step and not for the release."""
    one = signed.release.policy.identities[0]
    any_of_them = SignerPattern(pattern=r"^[a-z]+@example\.org$", issuer=one.issuer)
    policy = VerificationPolicy(identities=[one, any_of_them], minimum_signers=2)
    return {"policy": policy, "attestations": [signed.release.attestation]}
