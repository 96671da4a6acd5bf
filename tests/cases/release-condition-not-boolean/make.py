from app.core import statements


def release(signed):
    """A name is no answer to whether it is the right one."""
    required = [{"type": statements.LINK, "condition": "input.predicate.name"}]
    return {"policy": signed.release.allow(required_predicates=required)}
