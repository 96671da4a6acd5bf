"""`make corpora` on projects of our own, and on small ones of which each must fail one of its checks."""

import importlib
from pathlib import Path

import pytest
import yaml

from app.core.policy_remedy import remedy

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
PROJECTS = ROOT / "tests" / "projects"

POLICY = "package app\n\n# METADATA\n# entrypoint: true\nallow if input.x == 1\n"
TEST = 'package app_test\n\nimport data.app\n\ntest_x if app.allow with input as {{"x": {0}}}\n'

FORBIDDEN = "undefined function rand.intn"

#: Each small project: its files, its options, and what is said of it.
WRONG = {
    "differs": (
        {
            "app.rego": "package app\n\nallow if input.x == data.limit\n\nnow := time.now_ns()\n",
            "limits.json": '{"limit": 1}',
            "app_test.rego": TEST.format(1),
            "no_test.rego": 'package no_test\n\nimport data.app\n\ntest_no if app.allow with input as {"x": 2}\n',
        },
        {"entrypoint": "app/allow", "ignore": ["*.json"]},
        [
            "app_test.rego: data.app_test.test_x: passed by opa test, failed from the bundle",
            "OPA answers data.app otherwise from the bundle",
        ],
    ),
    "accepted": (
        {"app.rego": POLICY, "app_test.rego": TEST.format(1)},
        {"refused": ["mine.f"]},
        ["was built, though it should be refused for mine.f"],
    ),
    "others": (
        {"app.rego": "package app\n\nallow if mine.f(mine.g(1))\n"},
        {"entrypoint": "app/allow", "refused": ["mine.f", "mine.h"]},
        ["is refused for mine.f, mine.g, not for mine.f, mine.h"],
    ),
    "refused": (
        {"app.rego": "package app\n\nallow if rand.intn(input.x, 2) == 1\n", "app_test.rego": TEST.format(1)},
        {"entrypoint": "app/allow"},
        [f"is refused: rego.compile: app.rego:3:10: {FORBIDDEN}; {remedy('', FORBIDDEN)}"],
    ),
    "untested": ({"app.rego": POLICY}, {}, ["opa test finds no test: nothing is shown by that"]),
    "broken": (
        {"app.rego": POLICY, "app_test.rego": TEST.format("y")},
        {},
        ["opa test cannot run its tests: 1 error occurred: {0}/app_test.rego:5: rego_unsafe_var_error: {1}"],
    ),
}

#: A project of older Rego: what `opa fmt` alone converts badly, what is no more, and a test that fails as it should.
OLDER = {
    "src/app.rego": 'package app\n\ndeny[{"msg": m}] { input.x; m := "x" } { re_match("^a", input.y); m := "y" }\n',
    "src/more/app.rego": "package more\n\nlimit = data.more.limits.high { true }\n",
    "src/more/limits/data.yaml": "high: 3\n",
    "test/ app.rego": (
        'package app\n\ntest_both { count(deny) == 2 with input as {"x": true, "y": "ab"} }\n\n'
        "test_none { count(deny) == 1 with input as {} }\n\n"
        'f(x) = 1 { x.a }\n\nf(x) = 2 { x.b }\n\ntest_conflict { f({"a": 1, "b": 1}) }\n'
    ),
}


@pytest.fixture
def corpora(tmp_path, monkeypatch, capsys):
    """Runs what `make corpora` runs, in this process: arguments in, exit code and both outputs out."""
    monkeypatch.syspath_prepend(ROOT / "tests")
    module = importlib.import_module("corpora")

    def run(described, *checkouts):
        (tmp_path / "list.yaml").write_text(yaml.safe_dump(described))
        code = module.main(["--list", str(tmp_path / "list.yaml"), *map(str, checkouts)])
        return code, *capsys.readouterr()

    return run


def written(directory, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory


def rows(output):
    cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines() if "|" in line)
    return {row[0]: row[1:] for row in cells}


def test_projects_come_out_of_a_release_as_they_went_in(corpora, tmp_path):
    older = written(tmp_path / "older", OLDER)
    described = {
        "infrastructure": {"directories": ["policy", "shared"], "entrypoint": "terraform/allow"},
        "older": {"directories": ["src"], "test_directories": ["test"], "v0": True, "entrypoint": "app/deny"},
        "each": {"each": ["policies/*"], "directories": [], "entrypoint": "*/violations"},
        "mine": {"entrypoint": "app/allow", "refused": ["mine.f", "mine.g"]},
    }
    for name in ("one", "two"):
        written(
            tmp_path / "each" / "policies" / name,
            {
                "a.rego": f"package {name}\n\nviolations contains 1 if input.x\n",
                "a_test.rego": f"package {name}\n\ntest_x if violations with input as {{}}\n",
            },
        )
    mine = written(tmp_path / "mine", WRONG["others"][0])
    code, output, errors = corpora(
        described,
        PROJECTS / "orders",
        PROJECTS / "admission",
        f"infrastructure={PROJECTS / 'infrastructure'}",
        f"older={older}",
        f"each={tmp_path / 'each'}",
        f"mine={mine}",
    )
    assert code == 0, errors
    found = rows(output)
    for name in ("orders", "admission", "infrastructure"):
        passed = int(found[name][2].split(" / ")[0])
        assert passed >= 4
        assert found[name][2] == f"{passed} / 0 / 0"
        assert found[name][5] == f"{passed} / 0 / 0, same"
    assert found["older"][2] == "1 / 1 / 1"
    assert found["older"][3].endswith("2 modules converted")
    assert found["older"][4:] == ["2 roots", "1 / 1 / 1, same"]
    assert found["each"][1:3] == ["4", "2 / 0 / 0"]
    assert found["each"][3].startswith("2 bundles")
    assert found["mine"][3] == "refused: mine.f, mine.g"


def test_each_check_can_fail(corpora, tmp_path):
    for name, (files, _, _) in WRONG.items():
        written(tmp_path / name, files)
    code, output, errors = corpora(
        {name: options for name, (_, options, _) in WRONG.items()},
        *(f"{name}={tmp_path / name}" for name in WRONG),
    )
    assert code == 1
    said = [line for line in errors.splitlines() if line.count(": ") > 1]
    expected = [
        f"corpora: {name}: {line.format(tmp_path / name, 'var y is unsafe')}"
        for name, (_, _, lines) in WRONG.items()
        for line in lines
    ]
    assert sorted(said) == sorted(expected)
    assert rows(output)["differs"][5].endswith("NOT the same")


@pytest.mark.parametrize(
    ("described", "checkout", "says"),
    [
        ({}, "unknown=.", "unknown is none of the projects described"),
        ({"a": {}}, "a=/nowhere", "/nowhere is not a directory"),
        ({"a": {"colour": "red"}}, "a=.", "its members are source, directories"),
        ({"a": {"each": ["none/*"]}}, "a=tests", "no directory of"),
    ],
)
def test_wrong_usage_is_one_line(corpora, described, checkout, says):
    code, output, errors = corpora(described, checkout)
    assert code == 2
    assert output == ""
    assert says in errors.splitlines()[-1]
