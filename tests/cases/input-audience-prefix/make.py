from bench.world import AUDIENCE
from tests.cases import asked


def request(world):
    return asked.identity(world, aud=AUDIENCE + "-test")
