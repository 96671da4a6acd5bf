from tests.cases import given


def bundle():
    return given.bundle(("._app.rego", b"\0\5\x16\7Mac OS X"))
