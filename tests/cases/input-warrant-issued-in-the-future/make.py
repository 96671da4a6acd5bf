from tests.cases import asked


def request(world):
    return asked.warrant(world, iat=world.now + 600)
