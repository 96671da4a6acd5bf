from tests.cases import asked


def request(world):
    return asked.by(world.identity(), subject={"id": "spiffe://example.org/root"})
