from tests.cases import given


def bundle():
    return given.bundle(("data.json", b'{"app": {"limit": 1}}'), ("app/data.json", b'{"limit": 1000000}'))
