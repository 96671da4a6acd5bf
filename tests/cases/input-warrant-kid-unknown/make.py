from tests.cases import asked


def request(world):
    return asked.warrant(world, {"kid": "w2"})
