def release(signed):
    """The start of the signer's name is another name."""
    return {"policy": signed.release.allow("dev@example.or")}
