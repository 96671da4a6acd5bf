from tests.cases import asked


def request(world):
    return asked.warrant(world) | {"context": {"amount": "40", "currency": "EUR"}}
