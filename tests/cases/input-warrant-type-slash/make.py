from tests.cases import asked


def request(world):
    return asked.warrant(world) | {"resource": {"type": "payment/p-1", "id": "x"}}
