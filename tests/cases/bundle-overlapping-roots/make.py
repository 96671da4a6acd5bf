from tests.cases import given


def bundle():
    return given.bundle_with(given.MANIFEST.replace(b'["app"]', b'["app", "app/x"]'))
