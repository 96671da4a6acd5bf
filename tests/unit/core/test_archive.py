import gzip
import io
import random
import string
import tarfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core import archive
from app.core.errors import Denied
from app.core.reason_codes import Reason
from tests.soon import soon

from .tars import END, POLICY, bundle, header, member, packed, padded


def refused(raw):
    with soon(), pytest.raises(Denied) as denied:
        archive.read_archive(raw)
    assert "\n" not in str(denied.value)
    return denied.value.reason


# ---- what is accepted --------------------------------------------------------------------------------------


def test_what_was_written_is_read():
    files = {"b/data.json": b"{}", "a.rego": POLICY, ".manifest": b"{}", "b/c/d.rego": b""}
    assert archive.read_archive(archive.write_archive(files)) == files


def test_the_same_files_give_the_same_bytes_in_any_order():
    files = {f"{letter}/{letter}.rego": letter.encode() * 700 for letter in string.ascii_lowercase}
    shuffled = list(files.items())
    random.Random(1).shuffle(shuffled)
    assert archive.write_archive(files) == archive.write_archive(dict(shuffled))


def test_the_bytes_name_no_time_no_owner_and_no_host():
    raw = archive.write_archive({"a.rego": POLICY})
    assert raw[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        [one] = tar.getmembers()
    assert (one.mtime, one.uid, one.gid, one.uname, one.gname, one.mode) == (0, 0, 0, "", "", 0o644)


def test_directories_are_skipped():
    raw = packed(header(b"a/", kind=b"5"), member(b"a/x.rego", b"1"))
    assert archive.read_archive(raw) == {"a/x.rego": b"1"}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_other_writers_plain_archives_are_read(form):
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", format=form) as tar:
        info = tarfile.TarInfo("a/x.rego")
        info.size, info.uid, info.uname, info.mtime = 1, 1000, "dev", 1_700_000_000
        tar.addfile(info, io.BytesIO(b"1"))
    assert archive.read_archive(gzip.compress(unpacked.getvalue())) == {"a/x.rego": b"1"}


def test_the_longest_path_fits_the_composed_bundle_too():
    path = "d" * (archive.MAX_DIRECTORY - 1) + "/" + "n" * archive.MAX_NAME
    archive.check_path(path)
    files = {path: b"1", f"policy/{path}": b"2"}
    with tarfile.open(fileobj=io.BytesIO(archive.write_archive(files))) as tar:
        assert set(tar.getnames()) == set(files)


# ---- what is refused ---------------------------------------------------------------------------------------

GOOD = member(b"a.rego", POLICY)
PAX = b"16 path=b.rego\n"
NEGATIVE = b"\xff" * 10 + b"\xfe\x00"  # -512 in base 256

REFUSED = {
    "nothing": (b"", Reason.ARCHIVE_MALFORMED),
    "not gzip": (b"PK\x03\x04", Reason.ARCHIVE_MALFORMED),
    "a plain tar": (GOOD + END, Reason.ARCHIVE_MALFORMED),
    "zlib, not gzip": (zlib.compress(GOOD + END), Reason.ARCHIVE_MALFORMED),
    "not a tar inside": (gzip.compress(b"hello"), Reason.ARCHIVE_MALFORMED),
    "a tar of nothing at all": (gzip.compress(b""), Reason.ARCHIVE_MALFORMED),
    "gzip cut short": (packed(GOOD)[:-9], Reason.ARCHIVE_MALFORMED),
    "gzip trailer altered": (packed(GOOD)[:-1] + b"\xff", Reason.ARCHIVE_MALFORMED),
    "bytes after the gzip": (packed(GOOD) + b"x", Reason.ARCHIVE_MALFORMED),
    "a second gzip member": (packed(GOOD) + packed(GOOD), Reason.ARCHIVE_MALFORMED),
    "tar cut short in a file": (packed(header(b"a.rego", 600), bytes(512), end=b""), Reason.ARCHIVE_MALFORMED),
    "tar cut short between files": (packed(GOOD, end=b""), Reason.ARCHIVE_MALFORMED),
    "one block of zeros, then more": (packed(GOOD, bytes(512), GOOD), Reason.ARCHIVE_MALFORMED),
    "bytes after the end": (packed(GOOD, end=END + b"x"), Reason.ARCHIVE_MALFORMED),
    "a file after the end": (packed(GOOD, END, member(b"b.rego")), Reason.ARCHIVE_MALFORMED),
    "a damaged header in between": (packed(GOOD, b"junk" * 128, member(b"b.rego")), Reason.ARCHIVE_MALFORMED),
    "size beyond the archive": (packed(header(b"a.rego", 1 << 30)), Reason.ARCHIVE_MALFORMED),
    "size below zero": (packed(header(b"a.rego", raw_size=NEGATIVE)), Reason.ARCHIVE_MALFORMED),
    "symbolic link": (packed(header(b"a.rego", kind=b"2", link=b"/etc/passwd")), Reason.ARCHIVE_LINK),
    "hard link": (packed(GOOD, header(b"b.rego", kind=b"1", link=b"a.rego")), Reason.ARCHIVE_LINK),
    "character device": (packed(header(b"a.rego", kind=b"3")), Reason.ARCHIVE_SPECIAL),
    "block device": (packed(header(b"a.rego", kind=b"4")), Reason.ARCHIVE_SPECIAL),
    "fifo": (packed(header(b"a.rego", kind=b"6")), Reason.ARCHIVE_SPECIAL),
    "GNU sparse file": (packed(header(b"a.rego", kind=b"S")), Reason.ARCHIVE_SPECIAL),
    "PAX path": (packed(member(b"x", PAX, kind=b"x"), GOOD), Reason.ARCHIVE_SPECIAL),
    "PAX for all files": (packed(member(b"x", PAX, kind=b"g"), GOOD), Reason.ARCHIVE_SPECIAL),
    "GNU long name": (packed(member(b"x", b"b.rego\0", kind=b"L"), GOOD), Reason.ARCHIVE_SPECIAL),
    "extension of a size below zero": (packed(header(b"x", kind=b"x", raw_size=NEGATIVE)), Reason.ARCHIVE_SPECIAL),
    "thousands of extensions in a row": (
        packed(member(b"x", b"6 a=b\n", kind=b"x") * 3000, GOOD),
        Reason.ARCHIVE_SPECIAL,
    ),
    "the same path twice": (packed(GOOD, GOOD), Reason.ARCHIVE_DUPLICATE),
    "a directory twice": (packed(header(b"a/", kind=b"5") * 2, GOOD), Reason.ARCHIVE_DUPLICATE),
    "a directory and a file of one name": (packed(header(b"a.rego/", kind=b"5"), GOOD), Reason.ARCHIVE_DUPLICATE),
    "a file that has files below it": (packed(GOOD, member(b"a.rego/b.rego")), Reason.ARCHIVE_DUPLICATE),
    "files below a file, before it": (packed(member(b"x/a/b.rego"), member(b"x/a")), Reason.ARCHIVE_DUPLICATE),
    "too many entries": (
        packed(*(header(b"d%d/" % n, kind=b"5") for n in range(archive.MAX_MEMBERS + 1))),
        Reason.ARCHIVE_TOO_LARGE,
    ),
    "AppleDouble": (packed(GOOD, member(b"._a.rego")), Reason.ARCHIVE_STRAY),
    "AppleDouble below a directory": (packed(GOOD, member(b"x/._a.rego")), Reason.ARCHIVE_STRAY),
    "Finder's notes": (packed(GOOD, member(b".DS_Store")), Reason.ARCHIVE_STRAY),
    "Finder's directory": (packed(GOOD, header(b"__MACOSX/", kind=b"5")), Reason.ARCHIVE_STRAY),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    raw, reason = REFUSED[name]
    assert refused(raw) == reason


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/a.rego", "//a.rego", "../a.rego", "a/../b.rego", "a/..", ".", "./a.rego", "a/./b.rego", "a//b.rego",
        "a/", "a\\b.rego", "C:\\a.rego", "a\n.rego", "a\0.rego", "a\x7f.rego", " a.rego", "a.rego ", "a /b.rego",
        "a/ b.rego", "\u202ea.rego", "a\u0301.rego", "\u00e4.rego", "a\u200b.rego", "a:b.rego", "a*.rego", "~/a.rego\t",
        "%2e%2e/a.rego", "a;b.rego", "$a.rego", "a'b.rego", 'a"b.rego', "\ud800.rego",
    ],
)  # fmt: skip
def test_a_path_of_more_than_one_spelling(path):
    with pytest.raises(Denied) as denied:
        archive.check_path(path)
    assert denied.value.reason == Reason.ARCHIVE_PATH
    assert "\n" not in str(denied.value)


@pytest.mark.parametrize("path", ["a" * 101, "x/" + "a" * 101, "d" * 140 + "/a.rego", "d/" * 71 + "a", "a" * 100_000])
def test_a_path_too_long_for_a_plain_header(path):
    with pytest.raises(Denied) as denied:
        archive.check_path(path)
    assert denied.value.reason == Reason.ARCHIVE_PATH
    assert len(str(denied.value)) < 400


@pytest.mark.parametrize("path", ["a.rego", "a b.rego", ".manifest", "a/b/c.rego", "a@1+x=2,y-z_0.rego", "...", "..a"])
def test_a_plain_path(path):
    archive.check_path(path)


@pytest.mark.parametrize("name", [b"\xff.rego", b"../a.rego", b"/a.rego", b"a\xc3\xa4.rego", b"a\\b"])
def test_a_path_in_an_archive(name):
    assert refused(packed(member(name))) == Reason.ARCHIVE_PATH


# ---- bounds ------------------------------------------------------------------------------------------------


def test_a_gzip_bomb_ends_at_the_limit(monkeypatch):
    monkeypatch.setattr(archive, "MAX_DECOMPRESSED", 1024 * 1024)
    assert refused(gzip.compress(bytes(1024 * 1024 + 1))) == Reason.ARCHIVE_TOO_LARGE


def test_the_size_that_gzip_claims_is_not_believed():
    assert refused(packed(GOOD)[:-4] + b"\xff\xff\xff\x7f") == Reason.ARCHIVE_MALFORMED


def test_the_compressed_size_is_bounded(monkeypatch):
    monkeypatch.setattr(archive, "MAX_COMPRESSED", 100)
    assert refused(bytes(101)) == Reason.ARCHIVE_TOO_LARGE


# ---- fuzz: nothing but `Denied`, and soon --------------------------------------------------------------------

VALID = bundle({"a/b/data.json": b"{}", "a/c.rego": POLICY * 20})
UNPACKED = gzip.decompress(VALID)
QUIET = settings(max_examples=200, deadline=2000, suppress_health_check=list(HealthCheck), derandomize=True)


def survives(raw):
    try:
        files = archive.read_archive(raw)
    except Denied:
        return
    for path in files:
        archive.check_path(path)
    assert archive.read_archive(archive.write_archive(files)) == files


@QUIET
@given(st.binary(max_size=3000))
def test_random_bytes(raw):
    survives(raw)


@QUIET
@given(st.binary(max_size=3000))
def test_random_bytes_in_gzip(raw):
    survives(gzip.compress(raw, compresslevel=1))


@QUIET
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_altered_gzip(changes):
    raw = bytearray(VALID)
    for at, value in changes:
        raw[at] = value
    survives(bytes(raw))


@QUIET
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 511), st.integers(0, 255)), min_size=1, max_size=4),
    st.booleans(),
)
def test_altered_tar_headers(changes, sums):
    """With right checksums in half of the cases, so that what was altered is read."""
    raw = bytearray(UNPACKED)
    for block, at, value in changes:
        raw[(block * 512 + at) % len(raw)] = value
    if sums:
        for block, *_ in changes:
            start = block * 512 % len(raw)
            one = raw[start : start + 512]
            one[148:156] = b" " * 8
            raw[start + 148 : start + 156] = b"%06o\0 " % sum(one)
    survives(gzip.compress(bytes(raw), compresslevel=1))


@QUIET
@given(
    st.lists(
        st.builds(
            lambda name, kind, size, content: header(name, kind=kind, raw_size=size) + padded(content),
            st.binary(max_size=100),
            st.sampled_from([b"0", b"\0", b"1", b"2", b"5", b"7", b"L", b"K", b"S", b"g", b"x", b"X", b"V", b"Z"]),
            st.one_of(st.integers(0, 2000).map(lambda n: b"%011o\0" % n), st.binary(min_size=12, max_size=12)),
            st.binary(max_size=1500),
        ),
        max_size=6,
    )
)
def test_well_formed_headers_of_any_kind(members):
    survives(packed(*members))
