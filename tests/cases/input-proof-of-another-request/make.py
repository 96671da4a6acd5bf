from tests.cases import asked


def request(world):
    return asked.proven(world, req="0" * 64)
