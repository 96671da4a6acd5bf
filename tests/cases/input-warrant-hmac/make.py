import hmac

from bench.world import WARRANTS, base64url
from tests.cases import asked


def request(world):
    secret = world.keys[WARRANTS].trusted["jwks"].encode()
    signed = asked.unsigned(world.warrant(), {"alg": "HS256"}).rstrip(".")
    forged = f"{signed}.{base64url(hmac.digest(secret, signed.encode(), 'sha256'))}"
    return asked.by(world.identity(), warrant=[forged])
