def release(signed):
    stamps = signed.signature["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps += signed.other["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    return signed.as_signature()
