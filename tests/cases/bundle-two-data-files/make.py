from tests.cases import given


def bundle():
    """What is verified is always the archive that was signed, so both stay as they are."""
    return given.bundle(("data.json", b'{"app": {"a": 1}}'), ("app/b/data.json", b'{"c": 2}'))
