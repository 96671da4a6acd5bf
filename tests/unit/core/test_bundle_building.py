import os

import pytest

from app.core import bundle as bundles
from app.core.bundle import build_bundle, parse_bundle, read_directory
from app.core.errors import Denied, UsageError
from app.core.reason_codes import Reason

from .tars import POLICY, manifest


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / ".manifest").write_text('{"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/allow"}}}')
    (tmp_path / "app" / "authz.rego").write_bytes(POLICY)
    return tmp_path


def built(directory):
    return build_bundle(read_directory(directory))


def test_the_same_directory_gives_the_same_bytes(directory):
    once = built(directory)
    for path in directory.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert built(directory) == once


def test_a_revision_that_names_the_content_is_added(directory):
    first = parse_bundle(built(directory)).manifest.revision
    assert len(first) == 16
    (directory / "app" / "authz.rego").write_bytes(POLICY + b"# more\n")
    assert parse_bundle(built(directory)).manifest.revision != first


def test_a_revision_of_the_authors_own_is_kept(directory):
    (directory / ".manifest").write_bytes(manifest(revision="mine"))
    assert parse_bundle(built(directory)).manifest.revision == "mine"


def test_tests_and_notes_are_left_out(directory):
    once = built(directory)
    for name in ("app/authz_test.rego", "README.md", "placet.yaml", "app/.gitignore"):
        (directory / name).write_text("x")
    (directory / "empty").mkdir()
    assert built(directory) == once


@pytest.mark.parametrize("number", ["9007199254740993", "1e400"])
def test_a_number_that_the_manifest_cannot_hold(directory, number):
    (directory / ".manifest").write_text(
        f'{{"roots": ["app"], "metadata": {{"n": {number}, "placet": {{"entrypoint": "app/a"}}}}}}'
    )
    with pytest.raises(Denied) as denied:
        built(directory)
    assert denied.value.reason == Reason.MANIFEST_MALFORMED


def denied_build(directory):
    with pytest.raises(Denied) as denied:
        built(directory)
    return denied.value.reason


def test_links_and_special_files(directory):
    link = directory / "app" / "link.rego"
    link.symlink_to(directory / "app" / "authz.rego")
    assert denied_build(directory) == Reason.ARCHIVE_LINK
    link.unlink()
    link.symlink_to("/nowhere")
    assert denied_build(directory) == Reason.ARCHIVE_LINK
    link.unlink()
    os.mkfifo(link)
    assert denied_build(directory) == Reason.ARCHIVE_SPECIAL


def test_a_linked_directory_is_not_entered(directory, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "secret.rego").write_bytes(POLICY)
    (directory / "app" / "sub").symlink_to(elsewhere)
    assert denied_build(directory) == Reason.ARCHIVE_LINK


def test_a_name_too_long_to_pack(directory):
    (directory / "app" / ("x" * 120 + ".rego")).write_bytes(POLICY)
    assert denied_build(directory) == Reason.ARCHIVE_PATH


def test_a_file_too_large(directory, monkeypatch):
    monkeypatch.setattr(bundles.archive, "MAX_DECOMPRESSED", 1000)
    (directory / "app" / "big.rego").write_bytes(bytes(1001))
    assert denied_build(directory) == Reason.ARCHIVE_TOO_LARGE


def test_nothing_to_build(tmp_path):
    assert denied_build(tmp_path) == Reason.ARCHIVE_EMPTY
    with pytest.raises(UsageError, match="is not a directory"):
        read_directory(tmp_path / "missing")


def test_a_policy_without_a_manifest(directory):
    (directory / ".manifest").unlink()
    assert denied_build(directory) == Reason.MANIFEST_MISSING
