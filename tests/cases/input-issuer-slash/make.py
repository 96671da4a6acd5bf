from tests.cases import asked


def request(world):
    return asked.identity(world, iss=asked.OIDC + "/", sub="alice")
