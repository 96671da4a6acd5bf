from tests.cases import asked


def request(world):
    return asked.delegated(world, actions=["read**", "refund"], resources=["payment/*"])
