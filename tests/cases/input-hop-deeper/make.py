from tests.cases import asked


def request(world):
    return asked.delegated(world, depth=1)
