from tests.cases import asked


def request(world):
    return asked.inside(world, actions=["read"])
