from tests.cases import given


def bundle():
    return given.bundle(("app.rego/more.rego", given.POLICY))
