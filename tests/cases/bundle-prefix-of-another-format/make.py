import gzip

from tests.cases import given


def bundle():
    """`app/data.json` for readers that look for a prefix in every header, `data.json` where the format has none."""
    entry = given.tar(("data.json", b'{"app": {"open": true}}'))[:1024]
    header = bytearray(entry[:512])
    header[257:265] = bytes(8)
    header[345:348] = b"app"
    return gzip.compress(given.tar(*given.GOOD)[:2048] + given.summed(header) + entry[512:] + bytes(1024))
