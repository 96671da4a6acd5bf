from tests.cases import asked


def request(world):
    return asked.by(world.identity(), warrant=world.chain(9, asked.HOLDERS))
