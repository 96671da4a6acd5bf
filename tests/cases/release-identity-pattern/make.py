def release(signed):
    """Patterns are not patterns here: they are compared as text."""
    return {"policy": signed.release.allow(".*@example\\.org")}
