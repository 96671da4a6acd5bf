import anyio
import pytest

from placet_sdk import TokenFile, request_identity
from placet_sdk.errors import Doubt
from placet_sdk.identity import resolve, resolve_async

ASSERTED = {"token": "t", "asserted": {"id": "spiffe://example.org/api"}}


async def awaited():
    return "t"


@pytest.mark.parametrize(
    ("source", "member"),
    [
        (None, None),
        ("t", {"token": "t"}),
        (ASSERTED, ASSERTED),
        (lambda: "t", {"token": "t"}),
        (lambda: None, None),
        (lambda: ASSERTED, ASSERTED),
    ],
)
def test_sources(source, member):
    assert resolve(source) == member
    assert anyio.run(resolve_async, source) == member


def test_a_source_may_have_to_be_awaited():
    assert anyio.run(resolve_async, awaited) == {"token": "t"}


@pytest.mark.parametrize("source", [1, b"t", ["t"], lambda: 1, lambda: b"t"])
def test_what_is_no_identity(source):
    with pytest.raises(Doubt, match=r"identity\.missing"):
        resolve(source)
    with pytest.raises(Doubt, match=r"identity\.missing"):
        anyio.run(resolve_async, source)


def test_a_file_is_read_each_time(tmp_path):
    source = TokenFile(tmp_path / "token")
    for token in ("first", "second"):
        (tmp_path / "new").write_text(f"{token}\n")
        (tmp_path / "new").rename(tmp_path / "token")
        assert resolve(source) == {"token": token}


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff", "ü".encode(), b"x" * (16 * 1024 + 1), None])
def test_a_file_without_a_token(tmp_path, content):
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(Doubt, match=r"identity\.missing") as caught:
        resolve(TokenFile(tmp_path / "token"))
    assert "xxx" not in str(caught.value)


def test_there_is_no_request_identity_outside_of_a_request():
    with pytest.raises(Doubt, match="no HTTP request"):
        resolve(request_identity)
