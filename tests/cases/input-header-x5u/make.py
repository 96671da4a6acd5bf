from tests.cases import asked


def request(world):
    return asked.identity(world, header={"x5u": "https://evil.example/cert"})
