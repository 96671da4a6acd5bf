from tests.cases import asked


def request(world):
    return asked.identity(world, {"typ": "warrant+jwt"})
