import hmac

from bench.world import base64url
from tests.cases import asked


def request(world):
    secret = world.keys[asked.OIDC].trusted["jwks"].encode()
    signed = asked.unsigned(world.identity(), {"alg": "HS256"}).rstrip(".")
    return asked.by(f"{signed}.{base64url(hmac.digest(secret, signed.encode(), 'sha256'))}")
