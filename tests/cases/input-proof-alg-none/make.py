from tests.cases import asked


def request(world):
    found = asked.proven(world)
    return found | {"proof": asked.unsigned(found["proof"], {"alg": "none"})}
