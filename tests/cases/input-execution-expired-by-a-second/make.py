from tests.cases import asked


def request(world):
    return asked.inside(world, exp=world.now - 1)
