from tests.cases import asked


def request(world):
    return asked.identity(world, iss="https://mallory.example", sub="alice")
