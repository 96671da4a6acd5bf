from tests.cases import asked


def request(world):
    return asked.warrant(world, cnf={"jwk": asked.HOLDERS[0].jwk})
