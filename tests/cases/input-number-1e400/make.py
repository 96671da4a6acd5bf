from tests.cases import asked


def request(world):
    return asked.raw(asked.by(world.identity()), '"amount": 40', '"amount": 1e400')
