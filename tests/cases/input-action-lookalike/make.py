from tests.cases import asked


def request(world):
    return asked.by(world.identity(), action={"name": "\uff52efund"})
