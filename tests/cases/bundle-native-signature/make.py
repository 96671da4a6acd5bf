from tests.cases import given


def bundle():
    """Placet's signature lies beside the bundle; one inside would look as if it counted."""
    return given.bundle((".signatures.json", b'{"signatures": ["e30.eyJmaWxlcyI6W119.c2ln"]}'))
