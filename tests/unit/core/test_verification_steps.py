"""docs/verification.md numbers and names the verifier's steps as its code does, and knows every code of theirs."""

import re
from pathlib import Path

import pytest

from app.core import conditions, evidence, evidence_form, layout_check, rego_check, verification, verification_policy
from app.core.reason_codes import Reason

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "verification.md").read_text()
#: A step and those below it: `1. **Title** [`step`] …`.
ITEM = re.compile(r"^(\d+)\. \*\*(.+?)\*\*(?: \[((?:`[^`]+`(?:, or )?)+)\])?", re.MULTILINE)
BELOW = re.compile(r"^   (\d+)\. (.+)$", re.MULTILINE)
COMMENT = re.compile(r"\((\d+(?:\.\d+)?)\) ([^\n;]+)")


def source(module):
    return Path(module.__file__).read_text()


def section(title):
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def commented(module):
    lines = [line.strip() for line in source(module).splitlines() if line.strip().startswith("# (")]
    return [found for line in lines for found in COMMENT.findall(line)]


@pytest.mark.parametrize(
    ("title", "module"), [("A release", verification), ("A piece of evidence", evidence)], ids=lambda one: str(one)[:9]
)
def test_the_steps_are_numbered_and_named_as_in_the_code(title, module):
    documented = [(number, name.replace("`", "")) for number, name, _ in ITEM.findall(section(title))]
    assert [int(number) for number, _ in documented] == list(range(1, len(documented) + 1))
    steps = [(number, said) for number, said in commented(module) if "." not in number]
    assert [number for number, _ in steps] == [number for number, _ in documented]
    for (_, name), (_, said) in zip(documented, steps, strict=True):
        assert said.startswith(name)


def test_the_parts_of_the_last_step_are_as_in_the_code():
    [(last, _, _)] = ITEM.findall(section("A release"))[-1:]
    documented = {f"{last}.{number}": said for number, said in BELOW.findall(section("A release"))}
    parts = {number: said for number, said in commented(rego_check) if "." in number}
    assert parts.keys() == documented.keys()
    for number, said in documented.items():
        assert parts[number].split()[0].lower() == said.split()[0].lower()


def test_a_denial_gives_its_step_by_the_name_that_the_page_has():
    named = [name for _, _, names in ITEM.findall(section("A release")) for name in re.findall("`(.+?)`", names)]
    assert named == [
        "policy", "signature", "attestations[N]", "signers", "required_predicates", "layout", "layout.links[N]",
        "bundle", "rego",
    ]  # fmt: skip
    code = "".join(map(source, (verification, verification_policy, conditions, layout_check)))
    for name in named:
        assert f'"{name}"' in code or f'f"{name.removesuffix("N]")}{{' in code


@pytest.mark.parametrize(
    "module", [verification, verification_policy, conditions, evidence, evidence_form, layout_check], ids=str
)
def test_every_code_of_the_verifier_is_on_the_page(module):
    raised = set(re.findall(r"\bReason\.(\w+)", source(module)))
    assert raised
    for name in raised:
        assert f"`{Reason[name]}`" in PAGE
