from tests.cases import asked


def request(world):
    return asked.summarised(world, {"typ": "ear+jwt"})
