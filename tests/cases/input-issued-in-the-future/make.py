from tests.cases import asked


def request(world):
    return asked.identity(world, iat=world.now + 600)
