"""What is tested again when something is saved: whatever could notice, and no less."""

import os
import re

import pytest

from app.core.policy_project import load
from app.core.policy_watching import changed, pattern, stamps

FILES = {
    "low.rego": "package low\n\na := data.facts.a\n",
    "low_test.rego": "package low_test\n\nimport data.low\n\ntest_a if low.a\n",
    "high.rego": "package high\n\nimport data.low\n\nb if low.a\n",
    "high_test.rego": "package high_test\n\nimport data.high\n\ntest_b if high.b\n",
    "apart.rego": "package apart\n\nc := 1\n",
    "apart_test.rego": "package apart_test\n\nimport data.apart\n\ntest_c if apart.c == 1\n",
    "data.json": '{"facts": {"a": true}}',
}


@pytest.fixture
def policy(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run_again(policy, *paths):
    chosen = pattern(load(policy), set(paths))
    every = {
        "low_test": "data.low_test.test_a",
        "high_test": "data.high_test.test_b",
        "apart_test": "data.apart_test.test_c",
    }
    return {name for name, full in every.items() if chosen is None or re.search(chosen, full)}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("low.rego", {"low_test", "high_test"}),
        ("high.rego", {"high_test"}),
        ("apart.rego", {"apart_test"}),
        ("apart_test.rego", {"apart_test"}),
        ("data.json", {"low_test", "high_test", "apart_test"}),
        ("placet.yaml", {"low_test", "high_test", "apart_test"}),
        ("gone.rego", {"low_test", "high_test", "apart_test"}),
    ],
)
def test_only_what_could_notice_is_tested_again(policy, path, wanted):
    assert run_again(policy, path) == wanted


def test_a_reference_by_variable_means_everything(policy):
    (policy / "apart.rego").write_text("package apart\n\nc := data[input.x]\n")
    assert run_again(policy, "low.rego") == {"low_test", "high_test", "apart_test"}


def test_a_reference_to_all_packages_below_is_one_to_each(policy):
    (policy / "low.rego").write_text("package all.low\n\na := 1\n")
    (policy / "high.rego").write_text("package high\n\nb := data.all\n")
    assert "high_test" in run_again(policy, "low.rego")


def test_a_save_is_noticed_whatever_it_does(policy):
    before = stamps(policy)
    assert changed(before, stamps(policy)) == set()
    os.utime(policy / "low.rego", ns=(1, 1))
    (policy / "high.rego").unlink()
    (policy / "new.rego").write_text("package new\n")
    (policy / ".hidden").mkdir()
    (policy / ".hidden" / "x.rego").write_text("")
    (policy / "notes.txt").write_text("")
    assert changed(before, stamps(policy)) == {"low.rego", "high.rego", "new.rego"}
