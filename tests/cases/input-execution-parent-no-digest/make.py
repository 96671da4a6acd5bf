from tests.cases import asked


def request(world):
    return asked.by(world.identity(), execution={"id": "run-1", "parent": "../../etc/passwd"})
