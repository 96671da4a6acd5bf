from tests.cases import asked


def request(world):
    return asked.by(world.identity(), execution={"id": "e" * 60_000})
