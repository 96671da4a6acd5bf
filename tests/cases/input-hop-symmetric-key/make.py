from tests.cases import asked


def request(world):
    return asked.warrant(world, cnf={"jwk": {"kty": "oct", "k": "c2VjcmV0"}})
