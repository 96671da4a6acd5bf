import json

import pytest

from app.core import archive, bundle_output, oci
from app.core.errors import PlacetError, UsageError

from .tars import bundle

RAW = bundle()


def test_a_file_and_its_notes(tmp_path):
    bundle_output.write(str(tmp_path / "x.tar.gz"), RAW, b"notes")
    assert (tmp_path / "x.tar.gz").read_bytes() == RAW
    assert (tmp_path / "x.tar.gz.build.json").read_bytes() == b"notes"


def test_a_directory_with_what_is_in_the_bundle(tmp_path):
    bundle_output.write(f"{tmp_path}/out/", RAW, b"notes")
    files = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*")}
    assert files == archive.read_archive(RAW)
    assert (tmp_path / "out.build.json").read_bytes() == b"notes"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.build.json"]


def test_an_oci_layout_is_read_back(tmp_path):
    bundle_output.write(f"oci:{tmp_path}/layout", RAW, b"notes")
    assert oci.read(f"oci:{tmp_path}/layout")[0] == RAW
    assert json.loads((tmp_path / "layout/oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}


@pytest.mark.parametrize("prefix", ["", "oci:"])
def test_nothing_is_overwritten_in_a_directory(tmp_path, prefix):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="holds something already"):
        bundle_output.write(f"{prefix}{tmp_path}/out", RAW, b"notes")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


@pytest.mark.parametrize("out", ["missing/x.tar.gz", "missing/out/", "oci:missing/out"])
def test_a_place_that_is_not_there(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlacetError, match="cannot write"):
        bundle_output.write(out, RAW, b"notes")
    assert not list(tmp_path.iterdir())
