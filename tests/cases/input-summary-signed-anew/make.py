from tests.cases import asked


def request(world):
    return asked.summarised(world, predicate=asked.predicate(world, timeVerified="2020-01-01T00:00:00Z"))
