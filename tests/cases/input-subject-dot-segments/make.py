from tests.cases import asked


def request(world):
    return asked.identity(world, sub="spiffe://example.org/a/../support")
