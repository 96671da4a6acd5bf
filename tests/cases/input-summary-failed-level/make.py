from tests.cases import asked


def request(world):
    return asked.summarised(world, predicate=asked.predicate(world, verifiedLevels=["SLSA_BUILD_LEVEL_3", "FAILED"]))
