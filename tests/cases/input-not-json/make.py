def request(world):
    return b'{"input": {"identity": }}'
