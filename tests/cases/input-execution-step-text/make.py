from tests.cases import asked


def request(world):
    return asked.by(world.identity(), execution={"id": "run-1", "step": "1; DROP TABLE link"})
