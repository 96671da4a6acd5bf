from tests.cases import given


def bundle():
    return given.bundle(("app.rego", b"package app\n\nallow := true\n"))
