from tests.cases import asked


def request(world):
    return asked.summarised(world, predicate=asked.predicate(world, verificationResult="FAILED"))
