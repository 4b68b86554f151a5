"""`json_schema.py`: checks by hand-made schemas, and the wording of errors (R-561 to R-563)."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings, strategies as st

from enfilade.primitives.schema.json_schema import SchemaChecker, expectation

# Two names for each keyword, and every kind of value, each tried with each.
SCHEMAS: list[Any] = [
    {},
    {"type": "integer"},
    {"type": "number"},
    {"type": ["string", "null"]},
    {"type": "boolean"},
    {"type": "object"},
    {"const": 1},
    {"const": True},
    {"const": {"a": [1]}},
    {"enum": [1, "a", None, False]},
    {"minimum": 1},
    {"exclusiveMinimum": 1},
    {"maximum": 1},
    {"exclusiveMaximum": 1},
    {"multipleOf": 2},
    {"minLength": 2},
    {"maxLength": 1},
    {"pattern": "^a"},
    {"minItems": 2},
    {"maxItems": 1},
    {"uniqueItems": True},
    {"items": {"type": "integer"}},
    {"prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
    {"prefixItems": [{"type": "integer"}, {"type": "integer"}], "items": False},
    {"contains": {"type": "integer"}},
    {"contains": {"type": "integer"}, "minContains": 2, "maxContains": 2},
    {"minProperties": 2},
    {"maxProperties": 1},
    {"required": ["a"]},
    {"dependentRequired": {"a": ["b"]}},
    {"dependentSchemas": {"a": {"required": ["b"]}}},
    {"properties": {"a": {"type": "integer"}}},
    {"properties": {"a": {"type": "integer"}}, "additionalProperties": False},
    {"properties": {"a": True}, "additionalProperties": {"type": "string"}},
    {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False},
    {"propertyNames": {"maxLength": 1}},
    {"allOf": [{"type": "integer"}, {"minimum": 2}]},
    {"anyOf": [{"type": "integer"}, {"required": ["a"], "type": "object"}]},
    {"oneOf": [{"type": "integer"}, {"type": "number"}, {"type": "array"}]},
    {"not": {"type": "integer"}},
    {"if": {"type": "integer"}, "then": {"minimum": 2}, "else": {"type": "string"}},
    {"if": {"type": "integer"}, "then": {"minimum": 2}},
    {"$ref": "#/$defs/A", "$defs": {"A": {"type": ["integer", "array"], "items": {"$ref": "#/$defs/A"}}}},
    {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}},
    {"properties": {"a": {"$ref": "#"}}, "additionalProperties": False},
    {"allOf": [True], "anyOf": [False, {"type": "string"}]},
]
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        1.0,
        1.5,
        2,
        0.3,
        -1,
        2**70,
        "",
        "a",
        "ab",
        "ba",
        [],
        [1],
        [1, 1],
        [1, True],
        [1.0, 1],
    ),
    *(
        ["a", 1],
        ["a", "b"],
        [1, 2],
        [[1], [1]],
        [{"a": 1}, {"a": 1.0}],
        [1, [2, ["x"]]],
        {},
        {"a": 1},
        {"a": "x"},
    ),
    *(
        {"b": 1},
        {"a": 1, "b": "x"},
        {"a": [1]},
        {"a": {"a": {}}},
        {"a": {"b": 1}},
        {"ab": 1},
        {"ab": "x", "c": 1},
    ),
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_same_verdict_as_another_implementation(schema: Any) -> None:
    checker, oracle = SchemaChecker(schema), jsonschema.Draft202012Validator(schema)
    for value in VALUES:
        assert (not checker.problems(value)) == oracle.is_valid(value), value


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(SCHEMAS[:-4]), min_size=1, max_size=3),
    st.sampled_from(VALUES),
    st.sampled_from(VALUES),
)
def test_same_verdict_on_combinations(parts: list[Any], one: Any, other: Any) -> None:
    schema = {"anyOf": parts[:2], "items": parts[-1], "properties": {"a": parts[0]}}
    checker, oracle = SchemaChecker(schema), jsonschema.Draft202012Validator(schema)
    for value in (one, [one, other], {"a": one, "b": other}):
        assert (not checker.problems(value)) == oracle.is_valid(value)


def test_multiples_are_decimal() -> None:
    """Another implementation may say that 0.3 is no multiple of 0.1."""
    assert not SchemaChecker({"multipleOf": 0.1}).problems(0.3)
    assert SchemaChecker({"multipleOf": 0.1}).problems(0.25)


LOGIN = {
    "type": "object",
    "properties": {"user": {"type": "string"}, "password": {"type": "string", "format": "password"}},
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "key": {"type": "string", "writeOnly": True, "maxLength": 2},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        "where": {"anyOf": [{"type": "object", "required": ["x"]}, {"type": "string"}]},
        "login": LOGIN,
        "either": {"anyOf": [LOGIN, {"type": "integer"}]},
        "sealed": {"type": "object", "writeOnly": True, "properties": {"a": {"type": "string"}}},
    },
    "required": ["name"],
    "additionalProperties": False,
}
PROBLEMS = {
    "missing": ({}, '"name" is missing (expected string)'),
    "unknown": (
        {"name": "ab", "age": 1},
        '"age" is not known here (it takes: name, key, tags, where, login, either, sealed)',
    ),
    "type": ({"name": 1}, '"name" should be string, got integer 1'),
    "length": ({"name": "a"}, '"name" should have at least 2 characters, got string "a"'),
    "choice": ({"name": "ab", "tags": ["a", "c"]}, '"tags[1]" should be "a" or "b", got string "c"'),
    "secret": ({"name": "ab", "key": "abc"}, '"key" should have at most 2 characters, got string'),
    "only alternative": ({"name": "ab", "where": {}}, '"where.x" is missing'),
    "no alternative": ({"name": "ab", "where": 5}, '"where" should be object or string, got integer 5'),
    "text for an object with a secret": (
        {"name": "ab", "login": "hunter2"},
        '"login" should be object, got string',
    ),
    "text for one of several with a secret": (
        {"name": "ab", "either": "hunter2"},
        '"either" should be object or integer, got string',
    ),
    "member of a secret": ({"name": "ab", "sealed": {"a": 77}}, '"sealed.a" should be string, got integer'),
    "member beside a secret": (
        {"name": "ab", "login": {"user": 5}},
        '"login.user" should be string, got integer 5',
    ),
    "root": ([], "the value should be object, got array"),
}


@pytest.mark.parametrize(("value", "expected"), PROBLEMS.values(), ids=PROBLEMS)
def test_problems_are_told_in_words(value: Any, expected: str) -> None:
    (problem,) = SchemaChecker(PERSON).problems(value)
    assert str(problem) == expected


@pytest.mark.parametrize("reference", ["https://example.org/a.json", "#/$defs/Gone", "other.json", "#anchor"])
def test_references_stay_within_the_schema_r562(reference: str) -> None:
    with pytest.raises(ValueError, match="leads nowhere within the schema"):
        SchemaChecker({"properties": {"a": {"$ref": reference}}})


def test_a_property_called_ref_is_no_reference() -> None:
    checker = SchemaChecker({"properties": {"$ref": {"type": "string"}}, "default": {"$ref": "#/none"}})
    assert not checker.problems({"$ref": "text"})
    assert checker.problems({"$ref": 1})


def test_dialects_r561() -> None:
    SchemaChecker({"$schema": "https://json-schema.org/draft/2020-12/schema"})
    with pytest.raises(ValueError, match="known dialects are"):
        SchemaChecker({"$schema": "https://example.org/mine"})


def test_depth_is_bounded_r563() -> None:
    value: Any = {}
    for _ in range(1000):
        value = [value]
    (problem,) = SchemaChecker({"items": {"$ref": "#"}, "not": {"type": "object"}}).problems(value)
    assert str(problem).endswith('…" is of the kind that is excluded')


def test_many_problems_are_cut() -> None:
    assert len(SchemaChecker({"items": {"type": "string"}}).problems(list(range(100_000)))) == 10


def test_a_derived_schema_that_is_wrong_is_blamed_and_not_the_value() -> None:
    (problem,) = SchemaChecker({"type": "int"}, derived=True).problems(5)
    assert str(problem).startswith("the value cannot be checked, since its schema is wrong: ")


def test_a_type_that_holds_itself_is_described_once() -> None:
    nested = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/Nested"}}]}
    root = {"$defs": {"Nested": nested, "Lists": {"type": "array", "items": {"$ref": "#/$defs/Lists"}}}}
    assert expectation({"$ref": "#/$defs/Nested"}, root) == "integer or array"
    assert expectation({"$ref": "#/$defs/Lists"}, root) == "array"
