import gzip

from tests.cases import given


def bundle():
    """300 KB that decompress to more than 256 MiB."""
    return gzip.compress(given.tar(*given.GOOD) + bytes(300 * 1024 * 1024))
