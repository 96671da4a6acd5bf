from tests.cases import asked


def request(world):
    return asked.summarised(world, predicateType="https://slsa.dev/provenance/v1")
