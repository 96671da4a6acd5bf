from tests.cases import asked


def request(world):
    found = asked.proven(world)
    return found | {"proof": world.proof(asked.HOLDERS[1], found)}
