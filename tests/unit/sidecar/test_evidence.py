import json

import pytest

from app.core.errors import PlacetError, UsageError
from app.sidecar.evidence import MAX_ITEMS, Evidence

DIGEST = "sha256:" + "0" * 64


def written(tmp_path, text, name="evidence.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_it_is_read_anew_each_time(tmp_path):
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "a.json").write_text('{"a": 1}')
    listed = written(
        tmp_path, f"- type: token\n  file: token\n- type: image\n  digest: {DIGEST}\n  bundles: [a.json]\n"
    )
    single = written(tmp_path, json.dumps({"type": "eat", "file": str(tmp_path / "token")}), "eat.json")
    summary = written(tmp_path, "type: vsa\nfile: token", "vsa.yaml")
    evidence = Evidence([listed, single, summary])
    assert evidence.read() == [
        {"type": "token", "token": "first"},
        {"type": "image", "digest": DIGEST, "bundles": ['{"a": 1}']},
        {"type": "eat", "token": "first"},
        {"type": "vsa", "token": "first"},
    ]
    (tmp_path / "token").write_text("second")
    assert evidence.read()[0]["token"] == "second"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "junk",
        "type: token",
        "type: token\nfile: a\nfile: b",
        "type: token\nfile: a\nmore: 1",
        "type: tpm\nfile: a",
        "type: image\ndigest: abc\nbundles: [a]",
        f"type: image\ndigest: {DIGEST}\nbundles: []",
        "file: a",
        "[1]",
        "a: [",
        "!!python/object:os.system {}",
    ],
)
def test_files_of_another_form(tmp_path, text):
    with pytest.raises(UsageError) as error:
        Evidence([written(tmp_path, text)])
    assert len(str(error.value).splitlines()) == 1


def test_missing_files(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        Evidence([tmp_path / "missing.yaml"])
    evidence = Evidence([written(tmp_path, "type: token\nfile: missing")])
    with pytest.raises(PlacetError, match="cannot read"):
        evidence.read()
    (tmp_path / "missing").write_bytes(b"\xff")
    with pytest.raises(PlacetError, match="UTF-8"):
        evidence.read()
    (tmp_path / "missing").write_bytes(b"x" * 20_000)
    with pytest.raises(PlacetError, match="larger"):
        evidence.read()


def test_too_much(tmp_path):
    with pytest.raises(UsageError, match="at most"):
        Evidence([written(tmp_path, "- {type: token, file: a}\n" * (MAX_ITEMS + 1))])
