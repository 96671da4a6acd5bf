from tests.cases import asked


def request(world):
    found = asked.delegated(world)
    claims = asked.decoded(found["warrant"][1].split(".")[1])
    return found | {"warrant": [found["warrant"][0], asked.hop(claims, asked.HOLDERS[5])]}
