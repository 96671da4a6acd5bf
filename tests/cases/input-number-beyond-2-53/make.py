from tests.cases import asked


def request(world):
    return asked.raw(asked.by(world.identity()), '"amount": 40', '"amount": 9007199254740993')
