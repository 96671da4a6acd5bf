from tests.cases import asked


def request(world):
    return asked.by(asked.unsigned(world.identity(), {}))
