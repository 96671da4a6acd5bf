"""How a path and its value are written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import record_path


@pytest.mark.parametrize(
    ("text", "leaf"),
    [
        ("input.context.amount=40", ("input.context.amount", "40")),
        ("timestamp=", ("timestamp", "")),
        ("labels.a=b=c", ("labels.a", "b=c")),
        ('labels."a=b"=c', ("labels.a=b", "c")),
        ('"labels"."a.b[0]".x=[0]', ("labels.a.b[0].x", "[0]")),
        ('labels."a\\"=\\u0062"=c', ('labels.a"=b', "c")),
        ('labels."a\\q"=c', ('labels."a\\q"', "c")),
        ('labels."a=c', ('labels."a', "c")),
        ('labels."a"b=c', ('labels."a"b', "c")),
        ("labels..=x", ("labels..", "x")),
        (".labels=x", (".labels", "x")),
        ("nd_builtin_cache.time.now_ns.[]=1", ("nd_builtin_cache.time.now_ns.[]", "1")),
        ("nd_builtin_cache.abs.[5]=5", ("nd_builtin_cache.abs.[5]", "5")),
    ],
)
def test_a_text_names_a_path_and_a_value(text, leaf):
    assert record_path.read(text) == leaf


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a path and its value"),
        ("labels.id", "is not a path and its value"),
        ("=40", "is not a path and its value"),
        ('""=40', "is not a path and its value"),
        ("input.roles[0]=admin", "names a place in an array"),
        ("result.reasons[*].code=x", "names a place in an array"),
        ("result.matrix[0][1]=x", "names a place in an array"),
        ("labels.a=" + "x" * 1024, "at most 1024 characters"),
    ],
)
def test_what_names_none_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        record_path.read(text)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4).filter(lambda names: names != [""]), st.text(max_size=8))
def test_every_name_can_be_written_in_quotes(names, value):
    text = ".".join(json.dumps(name) for name in names) + f"={value}"
    assert record_path.read(text) == (".".join(names), value)


def test_many_quotes_take_no_time():
    assert record_path.read('"a".' * 250 + "b=") == ("a." * 250 + "b", "")
    with pytest.raises(ValueError, match="is not a path"):
        record_path.read('"a".' * 250)
