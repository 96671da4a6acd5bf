import tarfile

from tests.cases import given


def bundle():
    return given.bundle(given.special("link.rego", tarfile.SYMTYPE, "../../etc/passwd"))
