from tests.cases import asked


def request(world):
    return asked.by(world.identity(), context={"x": "x" * 300_000})
