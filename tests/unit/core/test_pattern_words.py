"""A text that a pattern refuses is answered with what it must be, and with an example that the pattern takes."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from app.core.complaint import complaint
from app.core.pattern_words import WORDS, words
from app.core.targets import Name

APP = Path(__file__).resolve().parents[3] / "app"
#: What pydantic and FastAPI take patterns with; others are the code's own.
TAKING = {"StringConstraints", "Field", "Path", "Query", "Header"}


def patterns():
    """Every pattern of a field in the platform, and where it is."""
    for file in sorted(APP.rglob("*.py")):
        if "pattern=" not in (text := file.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TAKING:
                for given in node.keywords:
                    if given.arg == "pattern":
                        name = ".".join(file.relative_to(APP.parent).with_suffix("").parts)
                        code = compile(ast.Expression(given.value), name, "eval")
                        yield f"{name}:{node.lineno}", eval(code, vars(importlib.import_module(name)))


def test_every_pattern_of_a_field_is_said_in_words_with_an_example():
    found = dict(patterns())
    assert len(found) > 30
    assert {place: one for place, one in found.items() if one not in WORDS} == {}
    assert set(WORDS) == set(found.values())


@pytest.mark.parametrize("pattern", WORDS)
def test_the_pattern_takes_its_example(pattern):
    what, example = WORDS[pattern]
    assert re.search(pattern, example)
    assert words(pattern) == f"must be {what}, such as {example}"


class System(BaseModel):
    name: Name


def test_a_complaint_says_the_form_and_an_example_and_never_the_input():
    with pytest.raises(ValidationError) as refused:
        System(name="Not One")
    assert complaint(refused.value) == (
        "name: must be at most 63 lower-case letters, digits and hyphens, with no hyphen at either end, "
        "such as payments-eu"
    )


def test_a_pattern_without_words_is_shown_itself():
    assert words("^x+$") == "must match ^x+$"
