from tests.cases import given


def bundle():
    return given.bundle(("/etc/evil.rego", given.POLICY))
