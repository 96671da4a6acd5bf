from tests.cases import asked


def request(world):
    return asked.raw(asked.by(world.identity()), '"context"', '"Context"')
