"""What people install: small, typed, and of one mind with the platform about codes and versions."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import placet_sdk
from app.core.reason_codes import Reason
from placet_sdk import codes

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "sdk/pyproject.toml").read_text())["project"]


def name_of(requirement):
    return re.split(r"[\[<>=~! ]", requirement, maxsplit=1)[0].lower()


def test_its_codes_are_in_the_table():
    own = {name: value for name, value in vars(codes).items() if name.isupper()}
    assert own
    assert all(Reason[name] == value for name, value in own.items())


def test_every_code_of_the_client_is_its_own_or_comes_from_the_edge():
    table = json.loads((ROOT / "app/core/reasons.json").read_text())
    client = {row["code"] for row in table if row["scope"] == "client"}
    edge = {"warrant.spent", "warrant.unredeemed", "execution.conflict", "execution.ended"}
    edge |= {"workflow.required", "workflow.violated", "lineage.unavailable"}
    assert client - edge <= {value for name, value in vars(codes).items() if name.isupper()}


def test_it_needs_little_and_the_lock_holds_it():
    assert {name_of(one) for one in PROJECT["dependencies"]} == {"httpcore"}
    lock = (ROOT / "requirements.lock").read_text()
    extras = [one for extra in PROJECT["optional-dependencies"].values() for one in extra]
    for requirement in [*PROJECT["dependencies"], *extras]:
        assert re.search(rf"^{name_of(requirement)}==", lock, re.MULTILINE), requirement


def test_its_version_is_the_platforms():
    assert PROJECT["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_every_public_name_is_there():
    assert sorted(placet_sdk.__all__) == placet_sdk.__all__ or set(placet_sdk.__all__) <= set(dir(placet_sdk))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built by its own build backend as pip would, without a network."""
    target = tmp_path_factory.mktemp("wheel")
    program = f"import hatchling.build; print(hatchling.build.build_wheel({str(target)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "sdk", capture_output=True, text=True, timeout=120, check=True
    )
    return zipfile.ZipFile(target / done.stdout.split()[-1])


def test_the_wheel_is_whole_and_typed(wheel):
    names = {name for name in wheel.namelist() if not name.startswith("placet_sdk-")}
    source = ROOT / "sdk/src"
    assert names == {path.relative_to(source).as_posix() for path in source.rglob("*.py")} | {"placet_sdk/py.typed"}


def test_what_the_wheel_says_about_itself(wheel):
    [metadata] = [wheel.read(name).decode() for name in wheel.namelist() if name.endswith("METADATA")]
    assert "Name: placet-sdk" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert "License-Expression: Apache-2.0" in metadata


def without_the_sdk(program):
    """Run Python where the SDK is not installed."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['placet_sdk'] = None\n{program}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_platform_does_not_need_it():
    program = "import importlib, cli.main\nfor module, _ in cli.main.NOUNS.values(): importlib.import_module(module)"
    program += "\nimport app.sidecar.agent, app.control.app"
    done = without_the_sdk(program)
    assert done.returncode == 0, done.stderr


def test_the_demo_says_that_it_needs_it():
    done = without_the_sdk("import cli.main\nsys.argv = ['placet', 'demo', 'run', '--check']\ncli.main.main()")
    assert done.returncode == 1
    assert "pip install ./sdk" in done.stderr
    assert "Traceback" not in done.stderr
