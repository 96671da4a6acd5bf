from tests.cases import given


def bundle():
    return given.bundle(("app/data.json", b'{"\\ud800": 1, "\\ud801": 1000000}'))
