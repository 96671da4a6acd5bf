import gzip

from tests.cases import given


def bundle():
    return gzip.compress(given.tar(("app.rego", given.POLICY)))
