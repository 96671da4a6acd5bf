from tests.cases import asked


def request(world):
    return asked.delegated(world, constraints={"amount": {"at_most": 500}})
