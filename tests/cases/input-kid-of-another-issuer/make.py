from bench.world import AGENTS
from tests.cases import asked


def request(world):
    return asked.by(asked.resigned(world.keys[AGENTS], world.identity(), {"alg": "ES256", "kid": "agents-1"}, {}))
