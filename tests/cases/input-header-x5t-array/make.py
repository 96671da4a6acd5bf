from tests.cases import asked


def request(world):
    return asked.identity(world, header={"x5t": ["a"]})
