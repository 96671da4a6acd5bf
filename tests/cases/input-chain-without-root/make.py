from tests.cases import asked


def request(world):
    return asked.by(world.identity(), warrant=asked.delegated(world)["warrant"][1:])
