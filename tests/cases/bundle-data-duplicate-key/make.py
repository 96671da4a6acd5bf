from tests.cases import given


def bundle():
    return given.bundle(("app/data.json", b'{"limit": 1, "limit": 1000000}'))
