import pytest

from app.core import roots
from app.core.reason_codes import Reason


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ["names no roots"]),
        ([], ["names no roots"]),
        ("app", ["names no roots"]),
        ([""], ["'' is not a root"]),
        ([" app"], ["' app' is not a root: a space"]),
        (["app/"], ["'app/' is not a root: a space or slash"]),
        (["app", "app"], ["'app' overlaps another root: it stands twice"]),
        (["app", "app/authz"], ["'app/authz' overlaps another root, 'app'"]),
        (["app/authz", "app"], ["'app/authz' overlaps another root, 'app'"]),
        (["placet"], ["'placet' is reserved"]),
        (["system/authz"], ["'system/authz' is reserved"]),
        ([7], ["7 is not a root"]),
        (["a.b"], ["'a.b' is not a root"]),
        ([f"r{n}" for n in range(roots.MAX_ROOTS + 1)], [f"more than {roots.MAX_ROOTS} roots"]),
        (["", "x ", "placetic", "y", "y/z"], ["''", "'x '", "'placetic' is reserved", "'y/z' overlaps"]),
    ],
)
def test_every_fault_is_named_with_a_remedy(value, names):
    found = list(roots.faults(value))
    assert len(found) == len(names)
    for fault, name in zip(found, names, strict=True):
        assert name in fault.message
        assert fault.remedy
        assert fault.field == "roots"
        assert fault.reason in (Reason.MANIFEST_ROOTS, Reason.MANIFEST_ROOTS_RESERVED)


def test_sound_roots_have_no_fault():
    assert not list(roots.faults(["app", "apple", "lib/a", "lib/b"]))


@pytest.mark.parametrize(
    ("packages", "data", "expected"),
    [
        (["app/authz"], {}, ["app/authz"]),
        (["app", "app/authz", "lib"], {}, ["app", "lib"]),
        (["app/authz"], {"app": {"users": {"ann": 1}}}, ["app/authz", "app/users"]),
        (["app/authz"], {"app": {"authz": {"limits": 1}}}, ["app/authz"]),
        (["app"], {"users": [], "roles": {}}, ["app", "roles", "users"]),
        (["a/b"], {"a": {"x.y": 1}}, ["a"]),  # no root may be called so: the tree above owns it
        (["a/b"], {"a": 3}, ["a"]),  # clashes with the package; the compiler says so
        ([], {}, []),
    ],
)
def test_roots_are_the_smallest_trees(packages, data, expected):
    assert roots.inferred(packages, data) == expected


def test_many_packages_share_the_trees_above_them():
    assert roots.inferred([f"lib/p{n}" for n in range(roots.MAX_ROOTS)] + ["app"], {}) == ["app", "lib"]


def test_what_is_inferred_is_sound():
    assert not list(roots.faults(roots.inferred(["a/b", "a/b/c", "d"], {"a": {"z": {"y": 1}}, "e": 1})))
