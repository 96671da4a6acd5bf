"""Walks tests/cases: one folder for each kind of fault, with the right answer."""

import importlib.util
import json
from pathlib import Path

import pytest

from app.core.bundle import parse_bundle
from app.core.errors import Denied
from tests.cases.given import Signed
from tests.soon import soon

from .release_kit import signed_release

pytestmark = pytest.mark.stack

CASES = Path(__file__).resolve().parents[1] / "cases"
#: The others are inputs of decisions: tests/integration/test_bad_input.py.
FOLDERS = sorted(path.parent for path in CASES.glob("*/expected.json") if not path.parent.name.startswith("input-"))


def maker(folder):
    spec = importlib.util.spec_from_file_location(f"case_{folder.name}", folder / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_case(folder, sigstore, opa_binary):
    expected, make = json.loads((folder / "expected.json").read_text()), maker(folder)
    release = None if hasattr(make, "bundle") else signed_release(sigstore, opa_binary)
    given = make.bundle() if release is None else make.release(Signed(release))
    with soon():
        try:
            if release is None:
                parse_bundle(given)
            else:
                release.verify(**given)
            reason, said = None, ""
        except Denied as denied:
            reason, said = denied.reason, str(denied)
    assert "\n" not in said
    assert reason == expected.get("reason")
    assert (reason is None) == expected.get("accepted", False)


def test_every_folder_is_in_the_readme():
    readme = (CASES / "README.md").read_text()
    for folder in FOLDERS:
        expected = json.loads((folder / "expected.json").read_text())
        assert f"| `{folder.name}` | {expected['report']} | `{expected.get('reason', 'accepted')}` |" in readme
    others = {"__pycache__", *(path.name for path in CASES.glob("input-*"))}
    assert len(FOLDERS) == len([path for path in CASES.iterdir() if path.is_dir() and path.name not in others])
