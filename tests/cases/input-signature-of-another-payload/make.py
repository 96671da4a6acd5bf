from tests.cases import asked


def request(world):
    head, _, signature = world.identity().split(".")
    return asked.by(".".join([head, world.identity("spiffe://example.org/root").split(".")[1], signature]))
