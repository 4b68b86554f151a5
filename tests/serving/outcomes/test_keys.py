"""Arguments as keys: all spellings of the same values are one, and others are others."""

import json
from typing import Any

import msgspec
from hypothesis import given, settings, strategies as st
from msgspec import Raw

from enfilade.serving.outcomes.keys import canonical, digest, read_arguments

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(st.text(max_size=3), values, max_size=4)


def form(raw: str, defaults: dict[str, bytes] | None = None) -> bytes:
    arguments = read_arguments(Raw(raw.encode()))
    assert arguments is not None
    return canonical(arguments, defaults or {})


def turned(value: Any) -> Any:
    """Return a value with the members of all objects in the other order."""
    if isinstance(value, dict):
        return {name: turned(value[name]) for name in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=40)
@given(objects)
def test_spellings_of_the_same_values(arguments: dict[str, Any]) -> None:
    plain = form(json.dumps(arguments))
    assert form(json.dumps(turned(arguments), indent=3, ensure_ascii=False)) == plain
    assert msgspec.json.decode(plain) == arguments


@settings(max_examples=40)
@given(objects, objects)
def test_other_values_are_other_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    is_same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (form(json.dumps(one)) == form(json.dumps(other))) is is_same


def test_what_looks_alike_is_not_the_same() -> None:
    spellings = ['{"a":1}', '{"a":1.0}', '{"a":true}', '{"a":"1"}', '{"a":[1]}', '{"a":null}', "{}", '{"A":1}']
    assert len({form(spelling) for spelling in spellings}) == len(spellings)
    assert form('{"a":1e2}') == form('{"a":100.0}')
    assert form('{"a":1,"a":2}') == form('{"a":2}'), "as the tool reads it"


def test_defaults_are_left_out_with_their_type() -> None:
    defaults = {"a": b"1", "b": b"null", "c": b'"x"'}
    assert form('{"a":1,"b":null,"c":"x"}', defaults) == b"{}"
    assert form('{"a":1.0}', defaults) != b"{}"
    assert form('{"a":true}', defaults) != b"{}"


def test_parts_of_a_key_do_not_run_together() -> None:
    parts = [("a", "bc"), ("ab", "c"), ("a", "b", "c"), ("a", None), ("a", "null"), ('a","b',), ("a", "b")]
    assert len({digest(*each) for each in parts}) == len(parts)


def test_numbers_beyond_those_of_a_float_are_values() -> None:
    spellings = ['{"a":1e999}', '{"a":-1e999}', '{"a":2e999}', '{"a":"1e999"}', '{"a":null}', '{"a":[1e999]}']
    assert len({form(spelling) for spelling in spellings}) == len(spellings)
    assert form('{ "b" : 1.50, "a" : 1e999 }') == form('{"a":1e999,"b":1.5}')
    assert read_arguments(Raw(b"null")) == {}
    assert read_arguments(Raw(b"[1e999]")) is None
