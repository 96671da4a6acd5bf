from tests.cases import asked


def request(world):
    return asked.identity(world, nbf=world.now + 600)
