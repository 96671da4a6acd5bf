from app.core import statements


def release(signed):
    """The member is name, and undefined is not true."""
    required = [{"type": statements.LINK, "condition": 'input.predicate.nmae == "build"'}]
    return {"policy": signed.release.allow(required_predicates=required)}
