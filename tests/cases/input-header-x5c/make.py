from tests.cases import asked


def request(world):
    return asked.identity(world, {"x5c": ["MIIB"]})
