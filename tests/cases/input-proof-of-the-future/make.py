from tests.cases import asked


def request(world):
    return asked.proven(world, iat=world.now + 600)
