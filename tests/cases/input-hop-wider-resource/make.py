from tests.cases import asked


def request(world):
    return asked.delegated(world, resources=["pay*"])
