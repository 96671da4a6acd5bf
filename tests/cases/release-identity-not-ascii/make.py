def release(signed):
    """The second letter of the listed name is Cyrillic."""
    return {"policy": signed.release.allow("d\u0435v@example.org")}
