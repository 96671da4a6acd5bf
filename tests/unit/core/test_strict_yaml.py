"""YAML as Placet reads it."""

import pytest

from app.core import strict_yaml
from app.core.strict_yaml import StrictYAMLError


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "1: x\n1.0: y\n", "{a: {b: 1, b: 2}}", "? [a]\n: 1\n"])
def test_a_key_stands_once_and_is_plain(text):
    with pytest.raises(StrictYAMLError, match=r"stands twice|unhashable"):
        strict_yaml.load(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "[" * 300 + "]" * 300,
        '{"a":' * 300 + "1" + "}" * 300,
        "- " * 300 + "x",
        "".join(f"{' ' * n}a:\n" for n in range(300)),
    ],
)
def test_deep_nesting_is_refused_by_its_name(text):
    with pytest.raises(StrictYAMLError, match="nested too deeply"):
        strict_yaml.load(text.encode())


@pytest.mark.parametrize("text", ["[" * 150 + "]" * 150, "- " * 150 + "x"])
def test_what_people_write_is_read(text):
    assert len(strict_yaml.load(text.encode())) <= 1


def test_many_keys_are_read():
    assert len(strict_yaml.load("".join(f"k{n}: {n}\n" for n in range(5000)).encode())) == 5000
