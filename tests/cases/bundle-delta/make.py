from tests.cases import given


def bundle():
    return given.bundle(("patch.json", b'{"data": []}'))
