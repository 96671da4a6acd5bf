from tests.cases import asked


def request(world):
    return asked.by(world.identity("\u017fpiffe://example.org/support"))
