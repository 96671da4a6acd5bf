import gzip
import tarfile

from tests.cases import given


def bundle():
    """PAX says `other.rego`, the header itself `app.rego`."""
    return gzip.compress(given.tar(*given.GOOD, form=tarfile.PAX_FORMAT, path="other.rego"))
