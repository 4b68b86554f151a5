"""`explicit_schema.py`: input schemas that authors write by hand (R-512, R-513)."""

from typing import Any

import pytest
from pydantic import BaseModel

from enfilade.primitives.errors import ArgumentsError
from enfilade.primitives.tool import Tool, tool_from_function
from support.servers.tools_in_process import CONTEXT, Context, make, received

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"count": {"type": "integer", "minimum": 1}},
    "properties": {"n": {"$ref": "#/$defs/count"}, "text": {"type": "string"}, "tags": {"type": "array"}},
    "required": ["n"],
    "additionalProperties": False,
}


class Count(BaseModel):
    n: int


def by_name(n: int, text: str = "a", tags: Any = None) -> Any:
    return {"n": n, "text": text, "tags": tags}


def untyped(n, text="a", tags=None):
    return {"n": n, "text": text, "tags": tags}


def everything(**rest: Any) -> Any:
    return rest


def some(n: int, **rest: Any) -> Any:
    return {"n": n, **rest}


def as_dict(arguments: dict[str, Any]) -> Any:
    return arguments


def as_untyped(arguments):
    return arguments


def with_context(ctx: Context, arguments: dict[str, Any]) -> Any:
    assert ctx is CONTEXT
    return arguments


@pytest.mark.parametrize("fn", [by_name, untyped, everything, some, as_dict, as_untyped, with_context])
def test_schema_is_published_as_given_and_arguments_arrive_r513(fn: Any) -> None:
    tool = make(fn, input_schema=SCHEMA)
    assert tool.definition.input_schema == SCHEMA
    found = received(tool, {"n": 1, "text": "b"})
    assert {name: value for name, value in found.items() if value is not None} == {"n": 1, "text": "b"}


REFUSED = {
    "missing": ({}, '"n" is missing'),
    "wrong": ({"n": 0}, '"n" should be at least 1, got integer 0'),
    "unknown": ({"n": 1, "m": 2}, '"m" is not an argument of this tool'),
    "array": ([], "they should be an object, got array"),
}


@pytest.mark.parametrize("fn", [by_name, everything, as_dict])
@pytest.mark.parametrize(("sent", "message"), REFUSED.values(), ids=REFUSED)
def test_arguments_are_checked_against_it(fn: Any, sent: Any, message: str) -> None:
    with pytest.raises(ArgumentsError) as caught:
        received(make(fn, input_schema=SCHEMA, name="t"), sent)
    assert str(caught.value) == f'Invalid arguments for tool "t": {message}' or message in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"n":NaN}', b'{"n":' + b"[" * 5000, b'{"n":"\\ud800"}'])
def test_hostile_input(raw: bytes) -> None:
    with pytest.raises(ArgumentsError):
        make(by_name, input_schema=SCHEMA).bind(raw, None)


def test_json_in_a_string_is_read() -> None:
    assert received(make(by_name, input_schema=SCHEMA), {"n": 1, "tags": "[1]"})["tags"] == [1]


def test_types_convert_after_the_check() -> None:
    def fn(point: Count) -> int:
        return point.n

    assert received(make(fn, input_schema={"type": "object", "properties": {"point": {}}, "required": ["point"]}), {"point": {"n": 1}}) == 1  # fmt: skip  # noqa: E501


def test_a_dict_that_is_a_property_is_an_ordinary_parameter() -> None:
    schema = {"type": "object", "properties": {"arguments": {"type": "object"}}, "required": ["arguments"]}
    assert received(make(as_dict, input_schema=schema), {"arguments": {"a": 1}}) == {"a": 1}


@pytest.mark.parametrize("name", ["self_", "arguments", "context"])
def test_the_smallest_schema(name: str) -> None:
    assert received(make(everything, input_schema={"type": "object"}), {name: 1}) == {name: 1}
    assert received(make(everything, input_schema={"type": "object"})) == {}


DISAGREEMENTS = {
    "no parameter": (
        lambda n: n,
        SCHEMA,
        TypeError,
        'no parameter for "text" of its input_schema',
    ),
    "not required": (
        lambda n, text: n,
        {"type": "object", "properties": {"n": {}, "text": {}}, "required": ["n"]},
        TypeError,
        'parameter "text" has no default, and input_schema does not require it',
    ),
    "no object": (everything, {"type": "array"}, ValueError, "R-512"),
    "no type": (everything, {}, ValueError, "R-512"),
    "reference": (
        everything,
        {"type": "object", "properties": {"a": {"$ref": "http://x"}}},
        ValueError,
        "leads nowhere",
    ),
    "header": (
        everything,
        {"type": "object", "properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
        ValueError,
        "R-252",
    ),
}


@pytest.mark.parametrize(("fn", "schema", "error", "message"), DISAGREEMENTS.values(), ids=DISAGREEMENTS)
def test_schema_and_function_must_agree(fn: Any, schema: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(fn, name="t", input_schema=schema)


def unchecked(schema: dict[str, Any]) -> Tool:
    """Make a tool without `make`, whose validator knows the patterns of Python alone."""
    return tool_from_function(everything, context_type=Context, input_schema=schema)


@pytest.mark.parametrize("pattern", [r"(?<n>a)\k<n>", "[^]", r"\0"])
def test_patterns_that_only_ecma_262_knows_are_published_and_left_to_the_client(pattern: str) -> None:
    text = {"type": "string", "pattern": pattern, "maxLength": 3}
    schema = {
        "type": "object",
        "properties": {"n": {"type": "array", "prefixItems": [True, {"allOf": [text]}]}},
        "patternProperties": {pattern: {}},
    }
    tool = unchecked(schema)
    assert tool.definition.input_schema == schema
    assert received(tool, {"n": [1, "b"]}) == {"n": [1, "b"]}
    with pytest.raises(ArgumentsError, match=r'"n\[1\]" should have at most 3 characters'):
        received(tool, {"n": [1, "bbbb"]})


CANNOT_BE_READ = {"pattern": "[^]"}


@pytest.mark.parametrize(
    "part",
    [
        {"properties": {"n": {"not": CANNOT_BE_READ}}},
        {"properties": {"n": {"oneOf": [CANNOT_BE_READ, {"type": "string"}]}}},
        {"properties": {"n": {"if": CANNOT_BE_READ, "then": {"type": "null"}}}},
        {"properties": {"not": CANNOT_BE_READ, "n": {}}},
        {"patternProperties": {"[^]": {}}, "additionalProperties": False},
    ],
    ids=["not", "oneOf", "if", "a property called not", "names"],
)
def test_what_such_a_pattern_decides_is_allowed(part: dict[str, Any]) -> None:
    assert received(unchecked({"type": "object", **part}), {"n": "b"}) == {"n": "b"}


def test_such_a_pattern_of_a_result_would_be_refused_by_clients_in_python() -> None:
    schema = {"type": "object", "properties": {"n": CANNOT_BE_READ}}
    with pytest.raises(ValueError, match="Python has no such pattern, at properties/n/pattern"):
        make(by_name, output_schema=schema)


def test_patterns_that_ecma_262_refuses_too_are_refused() -> None:
    with pytest.raises(ValueError, match="this is no JSON Schema, at properties/n/pattern"):
        make(everything, input_schema={"type": "object", "properties": {"n": {"pattern": "("}}})
