from tests.cases import asked


def request(world):
    return asked.warrant(world, {"typ": "JWT"})
