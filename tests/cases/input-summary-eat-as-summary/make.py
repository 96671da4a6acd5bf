from tests.cases import asked


def request(world):
    affirmed = {"image": {"ear.status": "affirming", "digest": f"sha256:{'ab' * 32}", "levels": ["SLSA_BUILD_LEVEL_3"]}}
    eat = asked.about(world, submods=affirmed)
    return asked.by(
        world.identity(), environment=[asked.resigned(world.keys[asked.ATTESTER], eat, {"typ": "vsa+jwt"}, {})]
    )
