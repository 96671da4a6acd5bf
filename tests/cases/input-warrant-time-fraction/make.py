from tests.cases import asked


def request(world):
    return asked.warrant(world, exp=world.now + 0.5)
