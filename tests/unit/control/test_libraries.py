"""The governance libraries that a control plane ran with: kept, given out, and none that is another."""

import pytest

from app.control import libraries
from app.control.objects import Objects
from app.control.problems import Invalid, NotFound
from app.core import strict_json
from app.core.compose import Library

SHIPPED = Library.shipped()
KEY = libraries.key(SHIPPED.digest)


def test_a_control_plane_keeps_its_own_library_and_gives_it_out(api, plane):
    assert plane.objects.get(KEY) == SHIPPED.written()
    answer = api.with_token("decision:read").get(f"/api/v1/libraries/{SHIPPED.digest}")
    assert answer.status_code == 200
    assert Library.read(answer.content) == SHIPPED
    api.create_system("payments")
    assert api.with_token("decision:read", system="payments").get(f"/api/v1/libraries/{SHIPPED.digest}").is_success
    assert api.with_token("record:write").get(f"/api/v1/libraries/{SHIPPED.digest}").status_code == 403
    assert api.get(f"/api/v1/libraries/sha256:{'0' * 64}").status_code == 404
    assert api.get("/api/v1/libraries/..%2Fplacet").status_code in {404, 422}


def test_what_was_changed_is_not_given_out_and_not_written_anew(api, plane):
    raw = plane.objects.get(KEY)
    for changed in (
        raw.replace(b"package", b"packagf", 1),
        raw + b" ",
        b"[]",
        b"{}",
        Library.of({"a.rego": b""}).written(),
    ):
        plane.objects.put(KEY, changed)
        assert api.get(f"/api/v1/libraries/{SHIPPED.digest}").status_code in {409, 422}
        libraries.keep(plane.objects, SHIPPED)
        assert plane.objects.get(KEY) == changed  # for fsck to name
        with pytest.raises(Invalid):
            libraries.find(plane.objects, SHIPPED.digest)


def test_another_version_is_kept_beside_it(tmp_path):
    objects, other = (
        Objects(f"file://{tmp_path / 'objects'}"),
        Library.of(SHIPPED.modules | {"more.rego": b"package x\n"}),
    )
    for one in (SHIPPED, other, SHIPPED):
        libraries.keep(objects, one)
    assert Library.read(libraries.find(objects, other.digest)) == other
    with pytest.raises(NotFound):
        libraries.find(objects, "sha256:" + "0" * 64)


@pytest.mark.parametrize(
    "modules",
    [{}, {"../a.rego": "package a"}, {"a_test.md": "x"}, {"a/b.rego": "x"}, {"a.rego": 7}, {"A.rego": "x"}],
)
def test_what_is_no_library(modules):
    with pytest.raises(ValueError, match="no modules"):
        Library.read(strict_json.canonical(modules))


def test_a_directory_is_read_as_a_distribution_is(tmp_path):
    for name, raw in SHIPPED.modules.items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "names_test.rego").write_bytes(b"package x\n")
    (tmp_path / "README.md").write_bytes(b"none of it")
    assert Library.of_directory(tmp_path) == SHIPPED
    (tmp_path / "names.rego").write_bytes(b"package x # caf\xe9\n")
    with pytest.raises(ValueError, match=r"names\.rego is not UTF-8"):
        Library.of_directory(tmp_path)
