from tests.cases import asked


def request(world):
    return asked.delegated(world, exp=world.now + 3000)
