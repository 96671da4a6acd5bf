from tests.cases import asked


def request(world):
    return asked.raw(asked.by(world.identity()), '"name": "refund"', b'"name": "ref\xffund"')
