from tests.cases import asked


def request(world):
    other = "spiffe://example.org/other"
    return asked.warrant(world, sub=other, sub_id={"format": "iss_sub", "iss": asked.OIDC, "sub": other})
