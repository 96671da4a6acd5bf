from tests.cases import asked


def request(world):
    token = world.keys[asked.OIDC].sign_raw('{"alg": "EdDSA", "alg": "none", "kid": "k1"}', "{}").split(".")
    return asked.by(".".join([token[0], world.identity().split(".")[1], token[2]]))
