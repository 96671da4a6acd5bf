from tests.cases import given


def bundle():
    return given.bundle(("app/../../evil.rego", given.POLICY))
