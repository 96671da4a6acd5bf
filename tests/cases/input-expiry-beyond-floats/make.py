import json

from tests.cases import asked


def request(world):
    claims = json.dumps(asked.decoded(world.identity().split(".")[1]) | {"exp": 0}).replace('"exp": 0', '"exp": 1e400')
    return asked.by(world.keys[asked.OIDC].sign_raw('{"alg": "EdDSA", "kid": "k1"}', claims))
