from tests.cases import given


def bundle():
    return given.bundle() + given.bundle(("more.rego", given.POLICY))
