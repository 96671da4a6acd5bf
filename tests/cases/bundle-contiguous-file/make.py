import gzip
import tarfile

from tests.cases import given


def bundle():
    """A module that tarfile reads, and OPA passes over."""
    entry = given.tar(("more.rego", b"package app\n\nallow if input.open\n"))[:1024]
    header = bytearray(entry[:512])
    header[156:157] = tarfile.CONTTYPE
    return gzip.compress(given.tar(*given.GOOD)[:2048] + given.summed(header) + entry[512:] + bytes(1024))
