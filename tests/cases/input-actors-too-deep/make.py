from tests.cases import asked


def request(world):
    act = {"sub": "a"}
    for _ in range(200):
        act = {"sub": "a", "act": act}
    return asked.identity(world, act=act)
