import gzip

from tests.cases import given


def bundle():
    """Each of the two good files takes 1,024 bytes."""
    return gzip.compress(given.tar(*given.GOOD)[:2048] + b"junk" * 128 + given.tar(("hidden.rego", given.POLICY)))
