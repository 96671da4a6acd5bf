from tests.cases import asked


def request(world):
    return asked.request(execution={"id": "run-1", "token": asked.unsigned(world.execution(), {"alg": "none"})})
