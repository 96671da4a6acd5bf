from tests.cases import asked


def request(world):
    root, hop = asked.delegated(world)["warrant"]
    again = asked.decoded(hop.split(".")[1]) | {"jti": "w-1"}
    return asked.by(world.identity(), warrant=[root, asked.hop(again, asked.HOLDERS[0])])
