"""A fault in JSON is shown where it stands."""

import pytest

from app.core import strict_json
from app.core.json_place import place


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b'{\n "a": 1\n "b": 2}', (3, 2)),
        (b'{\n "a": 1,\n "a": 2\n}', (3, 2)),
        (b'{"x": [{"a": 1}, {"a": 1,\n  "a": 2}]}', (2, 3)),
        (b'\xef\xbb\xbf{"a": 1}', (1, 1)),
        (b'{\n\t"a": 1,\n\t"a": 2}', (3, 2)),  # YAML has no tabs there, JSON does
        (b'{\n\t"b":\t{"a": 1,\t"a": 2}}', (2, 16)),
    ],
)
def test_what_the_parser_refuses(text, where):
    with pytest.raises(strict_json.StrictJSONError) as error:
        strict_json.loads(text)
    assert place(text, str(error.value)) == where


def test_a_member_by_its_name():
    assert place(b'{"b": 1,\n  "rootz": []}', "unknown member 'rootz'", "rootz") == (2, 3)
    assert place(b'{"b": {"rootz": 1}}', "unknown member 'rootz'", "rootz") == (1, 1)
