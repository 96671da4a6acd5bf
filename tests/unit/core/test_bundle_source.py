import gzip
import io
import json
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import archive, bundle_source, git_facts, git_submodules
from app.core.bundle_source import merged, read, unpack
from app.core.errors import Denied, PlacetError, UsageError
from app.core.reason_codes import Reason

from .git_kit import git
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
    source = read(str(tmp_path))
    assert dict(source.files) == {"policy/app.rego": POLICY}
    assert source.left_out == ("LICENSE", "Makefile", "README.md", "docs/how.md", "policy/app_test.rego")


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
    raw = merged([read(str(one)), read(str(two))])[".manifest"]
    assert merged([read(str(two)), read(str(one))])[".manifest"] == raw, "in either order"
    manifest = json.loads(raw)
    assert manifest["roots"] == ["app", "lib"]
    assert manifest["metadata"] == {"placet": {"entrypoint": "app/allow"}}


def deciding(directory, name, **more):
    manifest = {"roots": [name], "metadata": {"placet": {"entrypoint": f"{name}/allow"}}, **more}
    module = f"package {name}\n".encode()
    return read(str(write(directory / name, **{"p.rego": module, ".manifest": json.dumps(manifest).encode()})))


def test_of_two_entrypoints_whoever_builds_chooses(tmp_path):
    two = [deciding(tmp_path, name) for name in ("one", "two")]
    with pytest.raises(
        Denied, match=r"two has the entrypoint two/allow; say which one.* --entrypoint one/allow"
    ) as denied:
        merged(two)
    assert denied.value.reason == Reason.MANIFEST_ENTRYPOINT
    assert denied.value.field == "metadata.placet.entrypoint"
    manifest = json.loads(merged(two, entrypoint="two/allow")[".manifest"])
    assert manifest == {"roots": ["one", "two"], "metadata": {"placet": {"entrypoint": "two/allow"}}}


def test_what_else_two_manifests_give_differently_is_the_manifests_fault(tmp_path):
    with pytest.raises(Denied, match="'revision' another value than before it; keep one") as denied:
        merged([deciding(tmp_path, name, revision=name) for name in ("one", "two")], entrypoint="one/allow")
    assert denied.value.reason == Reason.MANIFEST_MALFORMED


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


def test_a_module_may_lie_where_a_bundle_could_not_have_it(tmp_path):
    for name in (" CIS 1.rego", "Zug\u00e4nge/a.rego", "data.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}" if name == "data.json" else POLICY)
    assert sorted(read(str(tmp_path), git=False).files) == ["CIS 1.rego", "Zug_nge/a.rego", "data.json"]
    (tmp_path / "CIS 1.rego").write_bytes(POLICY)
    with pytest.raises(Denied, match=r"would be 'CIS 1\.rego' too; rename it"):
        read(str(tmp_path), git=False)


@pytest.mark.parametrize("path", ["../a.rego", "a/../b.rego", "._a.rego", "caf\u00e9.json"])
def test_no_other_path_is_changed(path):
    assert bundle_source.module_path(path) == path


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
        (gzip.compress(b"x" * 600, mtime=0), Reason.ARCHIVE_MALFORMED),
    ],
)
def test_a_bundle_that_is_none(raw, reason):
    with pytest.raises(Denied) as denied:
        unpack(raw)
    assert denied.value.reason == reason


def pax(**said):
    records = b"".join(one for name, value in said.items() for one in [_record(name.replace("__", "."), value)])
    return member(b"x", records, kind=b"x")


def _record(name, value):
    rest = f" {name}={value}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


TERABYTE = 1 << 40
OLD_SPARSE = bytearray(header(b"a.rego", kind=b"S"))
OLD_SPARSE[257:265] = b"ustar  \0"
OLD_SPARSE[386:410] = b"00000000000\0" * 2
OLD_SPARSE[483:495] = b"77777777777\0"
OLD_SPARSE[148:156] = b" " * 8
OLD_SPARSE[148:156] = b"%06o\0 " % sum(OLD_SPARSE)
HOSTILE = {
    "sparse by PAX": (
        pax(GNU__sparse__map=f"0,0,{TERABYTE},0", GNU__sparse__size=TERABYTE, GNU__sparse__numblocks=2)
        + member(b"a.rego"),
        Reason.ARCHIVE_SPECIAL,
    ),
    "sparse by PAX, 1.0": (
        pax(GNU__sparse__major=1, GNU__sparse__minor=0, GNU__sparse__realsize=TERABYTE, GNU__sparse__name="a.rego")
        + member(b"a.rego", f"1\n{TERABYTE}\n0\n".encode().ljust(512, b"\0")),
        Reason.ARCHIVE_SPECIAL,
    ),
    "sparse by GNU": (bytes(OLD_SPARSE), Reason.ARCHIVE_SPECIAL),
    "a number without end": (member(b"x", b"9" * 60_000, kind=b"x") + member(b"a.rego"), Reason.ARCHIVE_MALFORMED),
    "a header without end": (member(b"x", bytes(100_000), kind=b"x") + member(b"a.rego"), Reason.ARCHIVE_TOO_LARGE),
    "a long path": (pax(path="a/" * 30_000 + "b.rego") + member(b"a.rego"), Reason.ARCHIVE_PATH),
    "a long name": (member(b"x", b"a/" * 30_000 + b"b.rego\0", kind=b"L") + member(b"a.rego"), Reason.ARCHIVE_PATH),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_small_archive_that_becomes_large_or_slow(kind):
    content, reason = HOSTILE[kind]
    with pytest.raises(Denied) as denied:
        unpack(packed(content))
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
    assert source.git == git_facts.GitFacts(commit, "", False)
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


@pytest.mark.parametrize("name", ["link.rego", "lib", "data.yaml"])
def test_a_link_in_a_commit(repository, name):
    """Also one that may lead to a directory, whose rules would be missing without a word."""
    (repository / "policy" / name).symlink_to("/etc")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "link")
    with pytest.raises(Denied, match="is a link; put the file itself there") as denied:
        read(f"git+file://{repository}@{git(repository, 'rev-parse', 'HEAD')}")
    assert denied.value.reason == Reason.ARCHIVE_LINK


@pytest.fixture
def with_submodule(repository, tmp_path):
    """A repository that has another one, which has a third, at `lib`; and their commits."""
    commits = {}
    for name, below in (("third", None), ("second", "third"), ("first", "second")):
        inner = repository if name == "first" else write(tmp_path / name, **{f"policy/{name}.rego": POLICY})
        if name != "first":
            git(inner, "init", "-q", "-b", "main")
            git(inner, "add", ".")
        if below:
            git(inner, "submodule", "--quiet", "add", f"../{below}", "lib")
        git(inner, "commit", "-qm", name)
        commits[name] = git(inner, "rev-parse", "HEAD")
    return repository, commits


def test_submodules_are_fetched_at_their_commits(with_submodule, tmp_path):
    repository, commits = with_submodule
    write(tmp_path / "second", **{"policy/later.rego": POLICY})
    git(tmp_path / "second", "add", ".")
    git(tmp_path / "second", "commit", "-qm", "later")
    source = read(f"git+file://{repository}@{commits['first']}")
    modules = {path for path in source.files if path.endswith(".rego")}
    assert modules == {"policy/app.rego", "lib/policy/second.rego", "lib/lib/policy/third.rego"}
    assert [(one["name"], one["digest"]["gitCommit"]) for one in source.submodules] == [
        ("lib/lib", commits["third"]),
        ("lib", commits["second"]),
    ]


@pytest.mark.parametrize(
    ("below", "files", "submodules"),
    [
        ("policy", {"app.rego"}, []),
        ("lib", {"policy/second.rego", "lib/policy/third.rego"}, ["lib", "lib/lib"]),
        ("lib/policy", {"second.rego"}, ["lib"]),
        ("lib/lib/policy/", {"third.rego"}, ["lib", "lib/lib"]),
    ],
)
def test_only_submodules_of_the_directory_are_fetched(with_submodule, below, files, submodules):
    repository, commits = with_submodule
    source = read(f"git+file://{repository}@{commits['first']}#{below}")
    assert {path for path in source.files if path.endswith(".rego")} == files
    assert sorted(one["name"] for one in source.submodules) == submodules


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        (b"", "lib is a submodule without an address in .gitmodules"),
        (b'[submodule "lib"]\n\tpath = other\n\turl = ../second\n', "lib is a submodule without an address"),
        (b'[submodule "lib"]\n\tpath = lib\n\turl = ext::sh -c id\n', "lib is a submodule at an address that is not"),
        (b'[submodule "lib"]\n\tpath = lib\n\turl = ../none\n', "git could not fetch the submodule lib at"),
    ],
)
def test_a_submodule_that_cannot_be_fetched_is_never_left_out(with_submodule, modules, says):
    repository, _ = with_submodule
    write(repository, **{".gitmodules": modules})
    git(repository, "add", ".gitmodules")
    git(repository, "commit", "-qm", "changed")
    with pytest.raises(PlacetError, match=says) as error:
        read(f"git+file://{repository}@{git(repository, 'rev-parse', 'HEAD')}")
    assert "\n" not in str(error.value)
    assert set(read(f"git+file://{repository}@main#policy").files) == {"app.rego"}


def test_submodules_without_end(repository):
    """A repository that is its own submodule, at the commit before: each fetch leads to one more."""
    for number in range(git_submodules.MAX_REPOSITORIES):
        entry = f"160000,{git(repository, 'rev-parse', 'HEAD')},lib{number}"
        git(repository, "update-index", "--add", "--cacheinfo", entry)
        modules = (repository / ".gitmodules").read_text() if number else ""
        modules += f'[submodule "lib{number}"]\n\tpath = lib{number}\n\turl = ./\n'
        write(repository, **{".gitmodules": modules.encode()})
        git(repository, "add", ".gitmodules")
        git(repository, "commit", "-qm", str(number))
    with pytest.raises(UsageError, match="more than 20 repositories"):
        read(f"git+file://{repository}@main")


@pytest.mark.parametrize(
    ("address", "parent", "url"),
    [
        ("../lib.git", "https://u:p@git.example.org/team/main.git", "https://u:p@git.example.org/team/lib.git"),
        ("./lib", "ssh://git@git.example.org/main", "ssh://git@git.example.org/main/lib"),
        ("git@git.example.org:team/lib.git", "https://git.example.org/m", "ssh://git@git.example.org/team/lib.git"),
        ("https://git.example.org/lib", "ssh://git@git.example.org/m", "https://git.example.org/lib"),
    ],
)
def test_the_address_of_a_submodule(address, parent, url):
    assert git_submodules.resolved(address, parent, "lib") == url


@pytest.mark.parametrize("address", ["/srv/lib", "file:///srv/lib", "http://git.example.org/lib", "../../../..", "lib"])
def test_an_address_of_a_submodule_that_is_not_fetched(address):
    with pytest.raises(UsageError, match="lib is a submodule at an address that is not fetched"):
        git_submodules.resolved(address, "https://git.example.org/main", "lib")


def test_a_tag_and_a_branch_lead_to_their_commit(repository):
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "-a", "v1.0", "-m", "one")
    write(repository, **{"policy/app.rego": b"package app\n\nallow := true\n"})
    git(repository, "commit", "-qam", "two")
    git(repository, "branch", "release/2")
    second = git(repository, "rev-parse", "HEAD")
    for name, commit in (("v1.0", first), ("refs/tags/v1.0", first), ("release/2", second), ("main", second)):
        source = read(f"git+file://{repository}@{name}#policy")
        assert source.git == git_facts.GitFacts(commit, "", False)
        assert (source.files["app.rego"] == POLICY) == (commit == first)
    for name in ("v2.0", first[:8]):
        with pytest.raises(PlacetError, match="name a tag or branch that is there, or a commit by its whole hash"):
            read(f"git+file://{repository}@{name}")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("git+https://git.example.org/x", "end it with @"),
        ("git+https://u:secret@git.example.org/x", "git.example.org/x: end it with @"),
        ("git+https://git.example.org/x@", "end it with @"),
        ("git+https://git.example.org/x@--upload-pack=x", "end it with @"),
        ("git+https://git.example.org/x@main:refs/heads/x", "end it with @"),
        ("git+https://git.example.org/x@a..b", "end it with @"),
        ("git+https://[git.example.org/x@main", "Invalid IPv6 URL"),
        ("git+http://git.example.org/x@" + "a" * 40, "git is fetched by"),
        ("git+ext::sh -c id@" + "a" * 40, "git is fetched by"),
        ("git+/some/path@" + "a" * 40, "git is fetched by"),
        ("git+https::ext::id@main", "git is fetched by"),
        ("git+https:///x@main", "end it with @"),
        ("git+https://git.example.org/@main", "end it with @"),
        ("git+https://git.example.org/x\nhost=evil.example.org@main", "end it with @"),
        ("git+https://git.example.org/x@" + "a" * 40 + "#../up", "leaves the repository"),
        ("git+https://git.example.org/x@" + "a" * 40 + "#/etc", "leaves the repository"),
    ],
)
def test_an_address_that_git_is_not_asked_for(address, says):
    with pytest.raises(UsageError, match=says) as error:
        read(address)
    assert "secret" not in str(error.value)


def test_a_commit_that_is_not_there(repository):
    with pytest.raises(PlacetError, match=r"git could not fetch a{40}") as error:
        read(f"git+file://{repository}@{'a' * 40}")
    assert "\n" not in str(error.value)
    commit = git(repository, "rev-parse", "HEAD")
    with pytest.raises(PlacetError, match=f"there is no directory nowhere in {commit} of file://{repository}"):
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
    assert git_facts.without_credentials(remote) == shown


def test_what_git_knows_of_a_directory(repository):
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "remote", "add", "origin", "https://user:secret@git.example.org/x.git")
    assert git_facts.facts(repository / "policy") == git_facts.GitFacts(commit, "https://git.example.org/x.git", False)
    write(repository, **{"other.txt": b"outside of the policy"})
    assert git_facts.facts(repository / "policy").dirty is False
    write(repository, **{"policy/new.rego": b"package app\n"})
    assert git_facts.facts(repository / "policy").dirty is True


def test_a_directory_that_is_in_no_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # must not matter
    assert git_facts.facts(tmp_path) is None
