"""`core_nodes.py` and `portable.py`: limits on types where pydantic checks them by a function."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from annotated_types import Gt, Len
from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from typing_extensions import TypedDict

from enfilade.primitives.errors import ArgumentsError, ReturnedValueError
from enfilade.primitives.schema.references import walk
from support.servers.tools_in_process import data_of, make, received, result_of


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Model(BaseModel):
    amount: Annotated[int | float, Field(gt=0)]


class Typed(TypedDict):
    a: int


#: Names of pydantic for what JSON Schema calls otherwise, or not at all.
UNKNOWN = {"gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "max_digits", "decimal_places"}


def tool_of(annotation: Any) -> Any:
    def fn(x: Any) -> Any:
        return x

    fn.__annotations__.update({"x": annotation, "return": annotation})
    return make(fn)


def published(tool: Any) -> Iterator[dict[str, Any]]:
    """Yield what the input schema and the output schema say of the value."""
    yield tool.definition.input_schema["properties"]["x"]
    if tool.definition.output_schema is not msgspec.UNSET:
        schema = tool.definition.output_schema
        yield schema.get("properties", {}).get("result", schema)


NUMBERS = Annotated[int | float, Field(gt=0)]
TEXTS = Annotated[list[int] | str, Field(min_length=1, max_length=3)]


@pytest.mark.parametrize(
    ("annotation", "branches"),
    [
        (NUMBERS, [{"type": "integer", "exclusiveMinimum": 0}, {"type": "number", "exclusiveMinimum": 0}]),
        (
            Annotated[int | float, Field(ge=1, le=5, multiple_of=2)],
            [
                {"type": "integer", "minimum": 1, "maximum": 5, "multipleOf": 2},
                {"type": "number", "minimum": 1, "maximum": 5, "multipleOf": 2},
            ],
        ),
        (
            TEXTS,
            [
                {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
                {"type": "string", "minLength": 1, "maxLength": 3},
            ],
        ),
        (
            Annotated[bytes | str, Field(max_length=3)],
            [{"type": "string", "contentEncoding": "base64"}, {"type": "string", "maxLength": 3}],
        ),
        (
            Annotated[list[str] | dict[str, str], Len(1)],
            [
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1},
            ],
        ),
    ],
    ids=str,
)
def test_limits_of_a_union_stand_where_they_belong(annotation: Any, branches: list[dict[str, Any]]) -> None:
    for part in published(tool_of(annotation)):
        assert part == {"anyOf": branches}


@pytest.mark.parametrize(
    "annotation",
    [
        *(NUMBERS, NUMBERS | None, list[NUMBERS], dict[str, NUMBERS], Model, TEXTS),
        Annotated[bool, Field(gt=0)],
        Annotated[Size, Field(ge=2)],
        Annotated[Literal[1, 2, 3], Gt(1)],
        Annotated[int | Size, Field(lt=2)],
        Annotated[Decimal | int, Field(gt=0, decimal_places=2, max_digits=5)],
        Annotated[timedelta | None, Field(gt=timedelta(0))],
        Annotated[date | timedelta, Field(gt=date(2020, 1, 1))],
        Annotated[int, AfterValidator(abs), Field(gt=0)],
        Annotated[Typed | list[int], Field(max_length=2)],
    ],
    ids=str,
)
def test_no_keyword_is_unknown(annotation: Any) -> None:
    for part in published(tool_of(annotation)):
        assert [keyword for each in walk(part) for keyword in each if keyword in UNKNOWN] == []


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        (Field(max_length=3), 5, "should be text, an array or an object, and have at most 3 characters or items"),
        (
            Field(min_length=1),
            None,
            "should be text, an array or an object, and have at least 1 character or item",
        ),
        (Field(max_length=3), "long", "should have at most 3 characters"),
        (Field(max_length=1), {"a": 1, "b": 2}, "should have at most 1 member"),
        (Field(gt=3), "a", "should be a number, and be more than 3"),
        (Field(gt=date(2020, 1, 1)), "a", "should be a value that can be compared, and be more than 2020-01-01"),
        (Field(multiple_of=2), [], "should be a number, and be a multiple of 2"),
        (Field(pattern="^a"), 5, "should be text, and match ^a"),
        (StringConstraints(strip_whitespace=True), 5, "should be text"),
        (Field(max_digits=3), "a", "should be a number, and have at most 3 digits"),
    ],
    ids=lambda case: case if isinstance(case, str) and "should" in case else "",
)
def test_an_error_of_anything_with_a_limit_names_the_limit(limit: Any, value: Any, words: str) -> None:
    def fn(x: Any) -> Any: ...

    fn.__annotations__["x"] = Annotated[Any, limit]
    with pytest.raises(ArgumentsError, match=re.escape(f'"x" {words}, got ')):
        received(make(fn), {"x": value})


@pytest.mark.parametrize("limit", [Field(gt=0), Field(max_length=2), Field(multiple_of=3), Field(pattern="^a")])
def test_anything_with_a_limit_never_fails_inside(limit: Any) -> None:
    def fn(x: Any) -> Any:
        return x

    fn.__annotations__["x"] = Annotated[Any, limit]
    tool = make(fn)
    part = tool.definition.input_schema["properties"]["x"]
    assert not part.keys() & UNKNOWN
    refused = 0
    for value in (5, -5, "aaaa", "b", None, True, 1.5, [1, 2, 3], {"a": 1}):
        try:
            assert received(tool, {"x": value}) == value
        except ArgumentsError as error:
            refused += 1
            assert '"x"' in str(error)  # noqa: PT017 - some values are refused, and some are not
    assert refused


@pytest.mark.parametrize("limit", [Field(gt=0), Field(max_length=2), Field(multiple_of=3), Field(pattern="^a")])
def test_a_result_of_any_type_with_a_limit_never_fails_inside(limit: Any) -> None:
    refused = 0
    for value in (5, -5, "aaaa", "b", None, True, 1.5, [1, 2, 3], {"a": 1}):
        try:
            assert data_of(result_of([value], list[Annotated[Any, limit]])) == {"result": [value]}
        except ReturnedValueError as error:
            refused += 1
            assert "result[0]" in str(error)  # noqa: PT017 - some values are refused, and some are not
    assert refused


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Annotated[str | int, Field(max_length=3)], "int"),
        (Annotated[str | int, Field(pattern="^a")], "int"),
        (Annotated[str | list[int] | None, Field(pattern="^a")], "list"),
        (Annotated[int | str, Field(gt=0)], "str"),
        (Annotated[int | list[int], Field(multiple_of=2)], "list"),
        (Annotated[list[int], Field(gt=0)], "list"),
        (Annotated[Path, Field(min_length=1)], "Path"),
        (Annotated[Model, Field(min_length=1)], "Model"),
        (Annotated[date | int, Field(gt=0)], "date"),
        (dict[str, list[Annotated[str | bool, Field(max_length=3)]]], "bool"),
    ],
    ids=str,
)
def test_a_limit_that_a_member_cannot_have_is_refused(annotation: Any, kind: str) -> None:
    with pytest.raises(
        TypeError, match=rf'fn\(\), parameter "x": the limit .* cannot be checked of {kind}; write'
    ):
        tool_of(annotation)
    with pytest.raises(
        TypeError, match=rf"give\(\), the result: the limit .* cannot be checked of {kind}; write"
    ):
        result_of(None, annotation)


@pytest.mark.parametrize("option", ["strip_whitespace", "to_lower", "to_upper"])
def test_a_change_of_text_is_named_where_a_member_is_no_text(option: str) -> None:
    options: dict[str, Any] = {option: True}
    with pytest.raises(TypeError, match=f"the limit {option}=True cannot be checked of int"):
        tool_of(Annotated[str | int, StringConstraints(**options)])


def test_a_limit_after_a_function_is_not_about_what_callers_send() -> None:
    tool = tool_of(Annotated[int, AfterValidator(abs), Field(gt=0)])
    assert list(published(tool)) == [{"type": "integer"}, {"type": "integer", "exclusiveMinimum": 0}]
    assert received(tool, {"x": -5}) == 5
    with pytest.raises(ArgumentsError, match="more than 0"):
        received(tool, {"x": 0})


def test_a_pattern_of_text_that_was_changed_before() -> None:
    tool = tool_of(Annotated[str, AfterValidator(str.strip), Field(pattern="^a", max_length=3)])
    assert received(tool, {"x": "   ab   "}) == "ab"
    assert next(published(tool)) == {"type": "string"}
