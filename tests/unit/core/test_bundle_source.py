import gzip
import io
import json
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import archive, bundle_source, git_source
from app.core.bundle_source import merged, read, unpack
from app.core.errors import Denied, PlacetError, UsageError
from app.core.reason_codes import Reason

from .tars import POLICY, bundle, header, member, packed


def write(directory, **files):
    for name, content in files.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return directory


# ---- directories -------------------------------------------------------------------------------------------


def test_a_project_keeps_its_other_files(tmp_path):
    write(
        tmp_path,
        **{
            "policy/app.rego": POLICY,
            "policy/app_test.rego": b"package app_test\n",
            "README.md": b"x",
            "docs/how.md": b"x",
            "LICENSE": b"x",
            "Makefile": b"x",
            ".regal/config.yaml": b"x",
            ".git/hooks/x": b"x",
        },
    )
    assert dict(read(str(tmp_path)).files) == {"policy/app.rego": POLICY}


def test_what_nobody_can_place_stays_to_be_refused_unless_it_is_ignored(tmp_path):
    write(tmp_path, **{"app.rego": POLICY, "limits.json": b"{}", "k8s/pod.yaml": b"a: 1\n"})
    assert sorted(read(str(tmp_path)).files) == ["app.rego", "k8s/pod.yaml", "limits.json"]
    assert sorted(read(str(tmp_path), ignore=["limits.json", "k8s/*"]).files) == ["app.rego"]


def test_yaml_data_becomes_json(tmp_path):
    write(tmp_path, **{"app.rego": POLICY, "x/data.yaml": b"users: {ann: [1, 2.5]}\n"})
    assert json.loads(read(str(tmp_path)).files["x/data.json"]) == {"users": {"ann": [1, 2.5]}}


LAUGHS = b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 40))


@pytest.mark.parametrize("text", [LAUGHS, b"a: 1\na: 2\n", b"a: [", b"d: 2026-01-01\n", b"n: .nan\n", b"&a [*a]\n"])
def test_yaml_that_is_no_data(tmp_path, text):
    write(tmp_path, **{"app.rego": POLICY, "data.yaml": text})
    with pytest.raises(Denied) as denied:
        read(str(tmp_path))
    assert denied.value.reason == Reason.DATA_MALFORMED
    assert "data.yaml" in denied.value.detail


def test_yaml_and_json_of_one_place(tmp_path):
    write(tmp_path, **{"app.rego": POLICY, "data.yaml": b"a: 1\n", "data.json": b"{}"})
    with pytest.raises(Denied, match="keep one"):
        read(str(tmp_path))


def test_several_directories_are_one_bundle(tmp_path):
    one = write(tmp_path / "one", **{"p.rego": POLICY, "data.json": b'{"app": {"x": 1}, "n": 12345678901234567890}'})
    two = write(tmp_path / "two", **{"p.rego": b"package lib\n", "data.json": b'{"app": {"y": 2}}', "q.rego": POLICY})
    files = merged([read(str(one)), read(str(two))])
    assert sorted(files) == ["2/p.rego", "data.json", "p.rego", "q.rego"]
    assert json.loads(files["data.json"]) == {"app": {"x": 1, "y": 2}, "n": 12345678901234567890}
    assert files == merged([read(str(one)), read(str(two))])


def test_two_directories_that_give_one_value_differently(tmp_path):
    one = write(tmp_path / "one", **{"p.rego": POLICY, "data.json": b'{"x": 1}'})
    two = write(tmp_path / "two", **{"data.json": b'{"x": 2}'})
    with pytest.raises(Denied, match="'x' another value") as denied:
        merged([read(str(one)), read(str(two))])
    assert str(two) in denied.value.detail


def test_manifests_of_several_directories_add_up(tmp_path):
    entry = b'{"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/allow"}}}'
    one = write(tmp_path / "one", **{"p.rego": POLICY, ".manifest": entry})
    two = write(tmp_path / "two", **{"q.rego": b"package lib\n", ".manifest": b'{"roots": ["lib"]}'})
    manifest = json.loads(merged([read(str(one)), read(str(two))])[".manifest"])
    assert manifest["roots"] == ["app", "lib"]
    assert manifest["metadata"] == {"placet": {"entrypoint": "app/allow"}}


def test_nothing_of_that_name(tmp_path):
    with pytest.raises(UsageError, match="no directory, no bundle and no address"):
        read(str(tmp_path / "missing"))


# ---- bundles that somebody built ---------------------------------------------------------------------------


def test_opas_own_paths_are_made_plain():
    raw = packed(member(b"/data.json", b"{}"), member(b"/policy/x.rego", POLICY), member(b"./y.rego", POLICY))
    assert unpack(raw) == {"data.json": b"{}", "policy/x.rego": POLICY, "y.rego": POLICY}


def test_directories_of_the_machine_that_built_it_are_cut():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("/".join(["", *["runner"] * 40, "policy", "app.rego"]))
        info.size = len(POLICY)
        tar.addfile(info, io.BytesIO(POLICY))
    [path] = unpack(raw.getvalue())
    assert path.endswith("/runner/policy/app.rego")
    assert archive.write_archive({path: POLICY})


def test_extension_headers_of_other_tars_are_read(tmp_path):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("app.rego")
        info.size, info.mtime = len(POLICY), 1.5
        tar.addfile(info, io.BytesIO(POLICY))
    assert unpack(raw.getvalue()) == {"app.rego": POLICY}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"junk", Reason.ARCHIVE_MALFORMED),
        (b"", Reason.ARCHIVE_MALFORMED),
        (packed(member(b"../x.rego", POLICY)), Reason.ARCHIVE_PATH),
        (packed(member(b"/../x.rego", POLICY)), Reason.ARCHIVE_PATH),
        (packed(member(b"a/../../README.md", POLICY)), Reason.ARCHIVE_PATH),
        (packed(header(b"x.rego", kind=b"2", link=b"/etc/passwd")), Reason.ARCHIVE_LINK),
        (packed(header(b"x.rego", kind=b"3")), Reason.ARCHIVE_LINK),
        (packed(member(b"x.rego", POLICY), member(b"/x.rego", b"package y\n")), Reason.ARCHIVE_DUPLICATE),
        (gzip.compress(b"x" * 600), Reason.ARCHIVE_MALFORMED),
    ],
)
def test_a_bundle_that_is_none(raw, reason):
    with pytest.raises(Denied) as denied:
        unpack(raw)
    assert denied.value.reason == reason


def test_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(bundle_source.archive, "MAX_DECOMPRESSED", 4096)
    with pytest.raises(Denied) as denied:
        unpack(gzip.compress(bytes(5000)))
    assert denied.value.reason == Reason.ARCHIVE_TOO_LARGE


def test_a_bundle_is_named_by_its_digest_and_loses_opas_signature(tmp_path):
    (tmp_path / "b.tar.gz").write_bytes(bundle({".signatures.json": b"{}", "app_test.rego": b"package app_test\n"}))
    source = read(str(tmp_path / "b.tar.gz"))
    assert source.wrapped
    assert sorted(source.files) == [".manifest", "app.rego"]
    assert source.left_out == ("app_test.rego", ".signatures.json")
    assert set(source.resource) == {"name", "digest"}


@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 4096),
)
def test_a_damaged_tar_is_read_or_refused(changes, cut):
    """Never another error, and never a path that leaves the bundle."""
    tar = bytearray(archive.decompressed(bundle({"x/data.json": b"{}", "x/lib.rego": POLICY})))
    for at, value in changes:
        tar[at % len(tar)] = value
    files, reason = {}, "archive."
    try:
        files = unpack(gzip.compress(bytes(tar[: len(tar) - cut]), compresslevel=1))
    except Denied as denied:
        reason = denied.reason
    assert reason.startswith("archive.")
    assert not [path for path in files if path.startswith("/") or ".." in path.split("/")]


# ---- git ---------------------------------------------------------------------------------------------------


def git(directory, *arguments):
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")
    done = subprocess.run(["git", *names, *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository whose first commit is the policy, and whose second is another."""
    directory = write(
        tmp_path / "repository",
        **{"policy/app.rego": POLICY, "README.md": b"x", "policy/app_test.rego": b"package app_test\n"},
    )
    git(directory, "init", "-q", "-b", "main")
    git(directory, "add", ".")
    git(directory, "commit", "-qm", "one")
    return directory


def test_a_commit_is_fetched_whole_and_nothing_else(repository):
    commit = git(repository, "rev-parse", "HEAD")
    write(repository, **{"policy/app.rego": b"package app\n\nallow := true\n"})
    git(repository, "commit", "-qam", "two")
    source = read(f"git+file://{repository}@{commit}#policy")
    assert dict(source.files) == {"app.rego": POLICY}
    assert source.left_out == ("app_test.rego",)
    assert source.git == git_source.GitFacts(commit, "", False)
    assert source.resource["digest"] == {"gitCommit": commit}
    assert dict(read(f"git+file://{repository}@{commit}").files) == {"policy/app.rego": POLICY}


def test_hooks_and_filters_of_a_repository_do_not_run(repository, tmp_path):
    touched = tmp_path / "touched"
    for name in ("post-checkout", "reference-transaction", "post-merge"):
        hook = repository / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {touched}\n")
        hook.chmod(0o755)
    write(repository, **{".gitattributes": b"*.rego filter=x export-ignore ident text eol=crlf\n"})
    git(repository, "-c", "core.hooksPath=/dev/null", "add", ".")
    git(repository, "-c", "core.hooksPath=/dev/null", "commit", "-qm", "attributes")
    commit = git(repository, "rev-parse", "HEAD")
    assert read(f"git+file://{repository}@{commit}").files["policy/app.rego"] == POLICY
    assert not touched.exists()


def test_a_link_in_a_commit(repository):
    (repository / "policy" / "link.rego").symlink_to("/etc/passwd")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "link")
    with pytest.raises(Denied, match="link or a submodule") as denied:
        read(f"git+file://{repository}@{git(repository, 'rev-parse', 'HEAD')}")
    assert denied.value.reason == Reason.ARCHIVE_LINK


def test_a_submodule_is_not_fetched(repository, tmp_path):
    inner = write(tmp_path / "inner", **{"evil.rego": POLICY})
    git(inner, "init", "-q", "-b", "main")
    git(inner, "add", ".")
    git(inner, "commit", "-qm", "inner")
    git(repository, "submodule", "--quiet", "add", str(inner), "inner")
    git(repository, "commit", "-qm", "submodule")
    source = read(f"git+file://{repository}@{git(repository, 'rev-parse', 'HEAD')}")
    assert not [path for path in source.files if "evil" in path]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("git+https://git.example.org/x@main", "a whole commit"),
        ("git+https://git.example.org/x@" + "a" * 39, "a whole commit"),
        ("git+https://git.example.org/x", "a whole commit"),
        ("git+http://git.example.org/x@" + "a" * 40, "git is fetched by"),
        ("git+ext::sh -c id@" + "a" * 40, "git is fetched by"),
        ("git+/some/path@" + "a" * 40, "git is fetched by"),
        ("git+https://git.example.org/x@" + "a" * 40 + "#../up", "leaves the repository"),
        ("git+https://git.example.org/x@" + "a" * 40 + "#/etc", "leaves the repository"),
    ],
)
def test_an_address_that_git_is_not_asked_for(address, says):
    with pytest.raises(UsageError, match=says):
        read(address)


def test_a_commit_that_is_not_there(repository):
    with pytest.raises(PlacetError, match=r"git could not fetch a{40}") as error:
        read(f"git+file://{repository}@{'a' * 40}")
    assert "\n" not in str(error.value)
    commit = git(repository, "rev-parse", "HEAD")
    with pytest.raises(PlacetError, match="git could not find nowhere"):
        read(f"git+file://{repository}@{commit}#nowhere")


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://user:secret@git.example.org/x.git?token=1#y", "https://git.example.org/x.git"),
        ("https://token@git.example.org:8443/x", "https://git.example.org:8443/x"),
        ("ssh://git@git.example.org/x", "ssh://git.example.org/x"),
        ("git@git.example.org:team/x.git", "git@git.example.org:team/x.git"),
        ("/srv/git/x", ""),
        ("file:///srv/git/x", ""),
        ("C:\\x", ""),
    ],
)
def test_a_remote_is_shown_without_secrets(remote, shown):
    assert git_source.without_credentials(remote) == shown


def test_what_git_knows_of_a_directory(repository):
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "remote", "add", "origin", "https://user:secret@git.example.org/x.git")
    assert git_source.facts(repository / "policy") == git_source.GitFacts(
        commit, "https://git.example.org/x.git", False
    )
    write(repository, **{"other.txt": b"outside of the policy"})
    assert git_source.facts(repository / "policy").dirty is False
    write(repository, **{"policy/new.rego": b"package app\n"})
    assert git_source.facts(repository / "policy").dirty is True


def test_a_directory_that_is_in_no_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # must not matter
    assert git_source.facts(tmp_path) is None
