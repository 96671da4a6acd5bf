from app.core.verification_policy import SignerIdentity, VerificationPolicy


def release(signed):
    """Two must sign, and one signed; that signature lies there twice."""
    one = signed.release.policy.identities[0]
    lead = SignerIdentity(identity="lead@example.org", issuer=one.issuer)
    policy = VerificationPolicy(identities=[one, lead], minimum_signers=2)
    return {"policy": policy, "attestations": [signed.release.signature, signed.release.signature]}
