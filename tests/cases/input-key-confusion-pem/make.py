import hmac

from cryptography.hazmat.primitives import serialization

from bench.world import base64url
from tests.cases import asked


def request(world):
    public = world.keys[asked.OIDC].private.public_key()
    secret = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = asked.unsigned(world.identity(), {"alg": "HS256"}).rstrip(".")
    return asked.by(f"{signed}.{base64url(hmac.digest(secret, signed.encode(), 'sha256'))}")
