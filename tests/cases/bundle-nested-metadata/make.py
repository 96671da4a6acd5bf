from tests.cases import given


def bundle():
    """The digest is over the archive's bytes, not over a manifest that was decoded and encoded again."""
    return given.bundle_with(given.MANIFEST.replace(b'"placet"', b'"team": {"b": {"z": 1, "a": [1.0, 1e2]}}, "placet"'))
