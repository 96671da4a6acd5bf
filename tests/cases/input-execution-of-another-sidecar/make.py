from tests.cases import asked


def request(world):
    return asked.inside(world, iss="spiffe://example.org/sidecar/payments/two")
