from tests.cases import asked


def request(world):
    mallory = asked.Key("mallory")
    return asked.by(asked.resigned(mallory, world.identity(), {"jwk": mallory.jwk}, {}))
