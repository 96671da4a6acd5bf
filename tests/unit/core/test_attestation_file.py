"""The file of a release's attestations: several processes add to it, one of them crashes, and somebody damages it."""

import json
import subprocess
import sys

import pytest

from app.core import attestation_file, statements
from app.core.errors import PlacetError, UsageError
from app.core.verification import MAX_ATTESTATIONS, split_attestations

from .test_attestation_claims import wrapped

#: Adds its attestations, one at a time: each call reads, waits a moment, and replaces the file.
ADDS = """
import sys, time
from pathlib import Path
from app.core import attestation_file
path, *files = map(Path, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
for file in files:
    def changed(existing):
        time.sleep(0.01)
        return [*existing, file.read_bytes()]
    attestation_file.change(path, changed)
"""
#: Dies in the middle of a change, after the new file was written and before it took its place.
CRASHES = """
import os, signal, sys
from pathlib import Path
from app.core import attestation_file
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
attestation_file.change(Path(sys.argv[1]), lambda existing: [Path(sys.argv[2]).read_bytes()])
"""


def link(name):
    product = statements.resource(name, "a" * 64)
    return wrapped(statements.link(name, command=[], materials=[], products=[product]))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.tar.gz.attestations.jsonl"


def added(path, *links):
    attestation_file.change(path, lambda existing: [*existing, *links])


def test_several_at_once_lose_nothing_and_tear_no_line(path, tmp_path):
    wanted = []
    processes = []
    for who in range(3):
        files = []
        for number in range(6):
            file = tmp_path / f"{who}-{number}"
            file.write_bytes(link(f"step-{who}-{number}"))
            files.append(file)
        wanted += [file.read_bytes() for file in files]
        command = [sys.executable, "-c", ADDS, str(path), *map(str, files)]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert sorted(path.read_bytes().splitlines()) == sorted(wanted)
    assert sorted(file.name for file in tmp_path.iterdir() if file.name.startswith((".", "x"))) == [path.name]


@pytest.mark.parametrize("before", [[], ["build", "sign"]])
def test_a_crash_in_between_leaves_the_old_file(path, tmp_path, before):
    links = [link(name) for name in before]
    if links:
        added(path, *links)
    (tmp_path / "new").write_bytes(link("new"))
    crashed = subprocess.run([sys.executable, "-c", CRASHES, path, tmp_path / "new"], timeout=60, check=False)
    assert crashed.returncode == -9
    assert attestation_file.read(path).splitlines() == links
    added(path, link("later"))  # and nobody holds it any more
    assert attestation_file.read(path).splitlines() == [*links, link("later")]


def test_the_same_attestation_is_added_once_however_it_is_written(path):
    one = link("build")
    document = json.loads(one)
    added(path, one)
    added(path, one + b"\n", json.dumps(document, indent=2).encode(), json.dumps(document, sort_keys=True).encode())
    assert path.read_bytes() == one + b"\n"


def test_an_attestation_of_several_lines_becomes_one(path):
    added(path, json.dumps(json.loads(link("build")), indent=2).replace("\n", "\r\n").encode())
    [line] = path.read_bytes().splitlines()
    assert json.loads(line) == json.loads(link("build"))


def test_a_file_keeps_what_is_wanted_and_counts_the_rest():
    links = [link("build"), wrapped(b"{}"), link("sign")]
    assert attestation_file.kept(links, lambda one, raw: one.step == "build" and raw == links[0]) == ([links[0]], 2)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (b"damaged\n", 2),
        (b"\n\n{}\n", 4),
        (link("sign")[:-20], 2),
        (link("sign") + link("test") + b"\n", 2),
        (link("sign") + b"\r\n[]", 3),
    ],
)
def test_a_damaged_file_is_refused_with_its_line_and_stays(path, damage, line):
    path.write_bytes(link("build") + b"\n" + damage)
    before = path.read_bytes()
    with pytest.raises(UsageError) as refused:
        added(path, link("new"))
    assert str(refused.value).startswith(f"{path}:{line}: no attestation (")
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before


def test_more_than_a_verifier_takes_is_refused_and_nothing_changes(path):
    links = [link(f"step-{number}") for number in range(MAX_ATTESTATIONS)]
    added(path, *links)
    with pytest.raises(UsageError, match=f"at most {MAX_ATTESTATIONS} attestations"):
        added(path, link("one-more"))
    assert path.read_bytes().splitlines() == links


def test_what_fails_makes_no_file(path):
    with pytest.raises(UsageError):
        attestation_file.change(path, lambda _: [link(f"s{number}") for number in range(MAX_ATTESTATIONS + 1)])
    assert not path.exists()
    with pytest.raises(PlacetError, match="cannot write"):
        added(path.parent / "nowhere" / path.name, link("build"))


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_one_more_stands_on_its_own_line_whatever_the_last_ends_with(end):
    build, publish = link("build"), link("publish")
    assert split_attestations(attestation_file.appended(build + end, publish)) == [build, publish]
    assert attestation_file.appended(b"", publish) == publish + b"\n"
