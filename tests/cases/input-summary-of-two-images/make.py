from tests.cases import asked


def request(world):
    return asked.summarised(world, subject=[{"digest": {"sha256": image * 32}} for image in ("ab", "cd")])
