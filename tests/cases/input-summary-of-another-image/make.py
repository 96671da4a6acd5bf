from tests.cases import asked


def request(world):
    return asked.summarised(world, subject=[{"digest": {"sha256": "cd" * 32}}])
