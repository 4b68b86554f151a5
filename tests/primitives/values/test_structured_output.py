"""The output schema from the annotation, and results that keep it (R-503, R-504, R-514)."""

import dataclasses
import datetime
import decimal
import json
import math
import sys
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional, TypeVar

import msgspec
import pytest
from msgspec import UNSET
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    StrictBool,
    StrictInt,
    computed_field,
    field_serializer,
)
from typing_extensions import TypeAliasType, TypedDict

from enfilade.primitives.errors import ReturnedValueError, ToolError
from enfilade.primitives.schema.json_schema import SchemaChecker
from enfilade.primitives.values.media import Image
from enfilade.primitives.values.results import ToolResult
from enfilade.wire.content import ImageContent, TextContent
from support.servers.tools_in_process import answered, data_of, make, result_of, text_of


class Point(BaseModel):
    x: int
    y: float = 0.0
    note: str | None = None


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    from_: str = Field(alias="from")

    @computed_field
    def shout(self) -> str:
        return self.from_.upper()


class Node(BaseModel):
    children: list["Node"] = []


class Numbers(RootModel[list[int]]):
    pass


class Row(TypedDict):
    id: int
    name: NotRequired[str]


class Pair(NamedTuple):
    left: int
    right: str


@dataclasses.dataclass
class Box:
    name: str
    data: bytes = b""
    size: float = 1.0


DAY = datetime.date(2024, 1, 2)

# annotation, value, structured content, text
RESULTS = {
    "str": (str, "hé", {"result": "hé"}, "hé"),
    "int": (int, 5, {"result": 5}, "5"),
    "big int": (int, 10**30, {"result": 10**30}, "1" + "0" * 30),
    "bool": (bool, False, {"result": False}, "false"),
    "float": (float, 1e300, {"result": 1e300}, "1e300"),
    "int as float": (float, 5, {"result": 5.0}, "5.0"),
    "optional": (str | None, None, {"result": None}, "null"),
    "typing.Optional": (Optional[str], "a", {"result": "a"}, "a"),  # noqa: UP045 - what older modules say
    "optional float": (float | None, math.nan, {"result": None}, "null"),
    "list": (list[int], [1, 2], {"result": [1, 2]}, "[1,2]"),
    "list from iterator": (list[int], iter([1, 2]), {"result": [1, 2]}, "[1,2]"),
    "bare list": (list, [1, "a"], {"result": [1, "a"]}, '[1,"a"]'),
    "set": (set[int], {1}, {"result": [1]}, "[1]"),
    "named tuple": (Pair, Pair(1, "a"), {"result": [1, "a"]}, '[1,"a"]'),
    "literal": (Literal["a", 1], 1, {"result": 1}, "1"),
    "date": (datetime.date, DAY, {"result": "2024-01-02"}, "2024-01-02"),
    "decimal": (decimal.Decimal, decimal.Decimal("1.10"), {"result": "1.10"}, "1.10"),
    "bytes": (bytes, b"\xfb\xff", {"result": "+/8="}, "+/8="),
    "union": (Point | list[int], [1], {"result": [1]}, "[1]"),
    "constrained": (Annotated[int, Field(ge=1)], 1, {"result": 1}, "1"),
    "dict": (dict, {"a": 1}, {"a": 1}, '{"a":1}'),
    "dict of lists": (dict[str, list[int]], {"a": [1]}, {"a": [1]}, '{"a":[1]}'),
    "dict by number": (dict[int, str], {1: "a"}, {"1": "a"}, '{"1":"a"}'),
    "dict of anything with nan": (dict[str, Any], {"a": math.nan}, {"a": None}, '{"a":null}'),
    "model": (Point, Point(x=1), {"x": 1, "y": 0.0, "note": None}, '{"x":1,"y":0.0,"note":null}'),
    "model from dict": (Point, {"x": 1}, {"x": 1, "y": 0.0, "note": None}, '{"x":1,"y":0.0,"note":null}'),
    "optional model": (Point | None, None, {"result": None}, "null"),
    "list of models": (list[Node], [Node()], {"result": [{"children": []}]}, '[{"children":[]}]'),
    "recursive model": (
        Node,
        Node(children=[Node()]),
        {"children": [{"children": []}]},
        '{"children":[{"children":[]}]}',
    ),
    "alias and computed": (Aliased, Aliased(from_="a"), {"from": "a", "shout": "A"}, '{"from":"a","shout":"A"}'),
    "root model": (Numbers, Numbers([1]), {"result": [1]}, "[1]"),
    "typed dict": (Row, {"id": 1}, {"id": 1}, '{"id":1}'),
    "dataclass": (
        Box,
        Box("a", b"\xff"),
        {"name": "a", "data": "/w==", "size": 1.0},
        '{"name":"a","data":"/w==","size":1.0}',
    ),
    "half a surrogate pair": (str, "a\ud800", {"result": "a\ufffd"}, "a\ufffd"),
    "half a pair in a list": (list[str], ["\ud800"], {"result": ["\ufffd"]}, '["\ufffd"]'),
    "half a pair in a dataclass": (
        Box,
        Box("\ud800"),
        {"name": "\ufffd", "data": "", "size": 1.0},
        '{"name":"\ufffd","data":"","size":1.0}',
    ),
}


@pytest.mark.parametrize(("returns", "value", "data", "text"), RESULTS.values(), ids=RESULTS)
def test_results_match_their_schema_and_are_text_too_r503_r514(
    returns: Any, value: Any, data: Any, text: str
) -> None:
    result = result_of(value, returns)
    assert data_of(result) == data
    assert text_of(result) == text


SCHEMAS = {
    "wrapped": (int, {"type": "object", "properties": {"result": {"type": "integer"}}, "required": ["result"]}),
    "as it is": (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    "serialization": (
        Aliased,
        {
            "type": "object",
            "title": "Aliased",
            "properties": {"from": {"type": "string"}, "shout": {"type": "string", "readOnly": True}},
            "required": ["from", "shout"],
        },
    ),
    "a model within": (
        list[Row],
        {
            "type": "object",
            "properties": {
                "result": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "title": "Row",
                        "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
                        "required": ["id"],
                    },
                }
            },
            "required": ["result"],
        },
    ),
}


@pytest.mark.parametrize(("returns", "schema"), SCHEMAS.values(), ids=SCHEMAS)
def test_output_schema_is_always_that_of_an_object_r504(returns: Any, schema: Any) -> None:
    def give() -> Any: ...

    give.__annotations__["return"] = returns
    assert make(give).definition.output_schema == schema


def test_no_schema_without_structured_output() -> None:
    result = result_of(5, int, structured_output=False)
    assert (text_of(result), data_of(result)) == ("5", UNSET)


def changed() -> Point:
    point = Point(x=1)
    point.x = "a"  # type: ignore[assignment]
    return point


MISMATCHES = {
    "text for int": (int, "a", '"result" should be integer, got string$'),
    "None for text": (str, None, '"result" should be string, got null$'),
    "int for text": (str, 5, '"result" should be string, got integer$'),
    "text for one of two": (
        list[int | bool],
        [1, "a"],
        r'"result\[1\]" should be integer or boolean, got string$',
    ),
    "a number for a strict one of two": (
        StrictInt | StrictBool | None,
        1.0,
        '"result" should be integer or boolean, got number$',
    ),
    "a tuple for one of two": (
        dict[str, tuple[int | bool, ...]],
        {"a": ("b",)},
        r'"a\[0\]" should be integer or boolean, got string$',
    ),
    "item": (list[int], [1, "a"], r'"result\[1\]" should be integer'),
    "constraint": (Annotated[int, Field(ge=1)], 0, "should be at least 1, got integer$"),
    "missing key": (Row, {}, '"id" is missing$'),
    "list for model": (Point, [1], "it should be object, got array$"),
    "another class": (Point, Box("a"), "it should be object, got a value of the class Box$"),
    "a set for text": (str, {1}, '"result" should be string, got array$'),
    "a key": (dict[int, str], {"x": "a"}, 'allow: the key "x" should be integer$'),
    "a key of an inner map": (
        list[dict[Literal["a"], int]],
        [{"b": 1}],
        r'allow: the key "b" of "result\[0\]" should be "a"$',
    ),
    "nan": (float, math.nan, 'NaN for "result", which JSON cannot hold; return None'),
    "infinity in a model": (Point, Point(x=1, y=math.inf), 'Infinity for "y"'),
    "nan in a list": (list[float], [1.0, math.nan], r'NaN for "result\[1\]"'),
    "nan in a dataclass": (Box, Box("a", size=math.nan), 'NaN for "size"'),
    "changed model": (Point, changed(), '"x" should be integer, got string'),
    "bytes that are no text, in a model of its own": (
        BaseModel,
        object(),
        "should be object, got a value of the class object",
    ),
    "object in a dict": (dict[str, Any], {"a": object()}, "an object of type object"),
}


@pytest.mark.parametrize(("returns", "value", "message"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_mismatch_is_an_error_that_says_what_was_declared_r514(returns: Any, value: Any, message: str) -> None:
    with pytest.raises(ReturnedValueError, match=message):
        result_of(value, returns)


class WithField(BaseModel):
    @computed_field
    @property
    def share(self) -> int:
        raise ToolError("The warehouse does not answer; try again in a minute.")


class WithSerializer(BaseModel):
    share: int = 1

    @field_serializer("share")
    def _written(self, value: int) -> int:
        raise ToolError("The warehouse does not answer; try again in a minute.")


@pytest.mark.parametrize("kind", [WithField, WithSerializer])
def test_what_a_model_raises_for_the_client_while_it_is_written_is_said(kind: type[BaseModel]) -> None:
    for returns in (kind, list[kind], Any):  # type: ignore[valid-type]
        with pytest.raises(ToolError, match=r"^The warehouse does not answer; try again in a minute\.$"):
            result_of([kind()] if returns == list[kind] else kind(), returns)  # type: ignore[valid-type]


def test_an_exception_of_a_validator_of_the_result_type_is_named_as_such() -> None:
    names = Annotated[list[str], BeforeValidator(lambda text: text.split())]
    with pytest.raises(AttributeError, match="split") as caught:
        result_of(["a", "b"], names)
    (note,) = caught.value.__notes__
    assert "raised by the validator of the result type" in note


def test_a_mismatch_does_not_show_the_value_d33() -> None:
    with pytest.raises(ReturnedValueError) as caught:
        result_of({"x": "my password"}, Point)
    assert "password" not in str(caught.value)


def test_a_type_without_schema_is_not_declared() -> None:
    class Weird:
        pass

    assert text_of(result_of([1], Iterator[int])) == "[1]"
    with pytest.raises(TypeError, match=r"give\(\): its return annotation has no JSON Schema"):
        result_of(1, Weird, structured_output=True)


class SomeClass:
    pass


class PlainTypedDict(typing.TypedDict):
    x: int


@pytest.mark.parametrize("returns", [SomeClass, dict[str, SomeClass], list[tuple[SomeClass, int]]])
def test_a_return_type_without_schema_is_logged(caplog: pytest.LogCaptureFixture, returns: Any) -> None:
    result_of({}, returns)
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("result_of.give(): its return annotation has no JSON Schema")
    assert "SomeClass" in message
    assert "Return a dataclass, a TypedDict or a model, or annotate it as Any" in message


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic reads typing.TypedDict from Python 3.12 on")
def test_the_log_names_the_typed_dict_that_has_a_schema(caplog: pytest.LogCaptureFixture) -> None:
    result_of([{"x": 1}], list[PlainTypedDict])
    assert "typing_extensions.TypedDict" in caplog.text


@pytest.mark.parametrize("returns", [Any, None, object, str, Image, list[Image | str], ToolResult, Point])
def test_nothing_is_logged_where_a_schema_is_published_or_makes_no_sense(
    caplog: pytest.LogCaptureFixture, returns: Any
) -> None:
    def give() -> Any: ...

    give.__annotations__["return"] = returns
    make(give)
    make(give, structured_output=False)
    assert caplog.records == []


def test_content_behind_aliases_has_no_schema() -> None:
    item: Any = TypeVar("item")
    picture: Any = TypeAliasType("picture", Image)
    many: Any = TypeAliasType("many", list[item], type_params=(item,))
    image = Image(data=b"\x89PNG", format="png")
    for returns in (
        picture,
        list[picture | str],
        many[Image],
        dict[str, many[picture]],
        Annotated[picture, "text"],
    ):
        result = result_of([image, "text"], returns)
        assert [type(block) for block in result.content] == [ImageContent, TextContent]


def test_tool_result_has_to_keep_the_declared_schema_r514() -> None:
    good = result_of(ToolResult(content="five", structured_content={"result": 5}), int)
    assert (text_of(good), data_of(good)) == ("five", {"result": 5})
    with pytest.raises(ReturnedValueError, match='"result" should be integer, got string'):
        result_of(ToolResult(structured_content={"result": "a"}), int)
    with pytest.raises(ReturnedValueError, match="without the structured content"):
        result_of(ToolResult(content="five"), int)


def test_an_error_owes_nothing_to_the_schema_r514() -> None:
    result = result_of(ToolResult(content="no", is_error=True), int)
    assert (result.is_error, text_of(result), data_of(result)) == (True, "no", UNSET)


GIVEN = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}


@pytest.mark.parametrize("value", [{"n": 1}, ToolResult(structured_content={"n": 1})])
def test_hand_made_schema(value: Any) -> None:
    def give() -> int:
        return value

    tool = make(give, output_schema=GIVEN)
    assert tool.definition.output_schema == GIVEN
    assert data_of(answered(tool)) == {"n": 1}
    assert text_of(answered(tool)) == '{"n":1}'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"n": 0}, '"n" should be at least 1'),
        ({}, '"n" is missing'),
        (5, "the value should be object"),
        (None, "object"),
    ],
)
def test_hand_made_schema_is_kept_too_r514(value: Any, message: str) -> None:
    with pytest.raises(ReturnedValueError, match=message):
        result_of(value, output_schema=GIVEN)


def test_hand_made_schema_of_another_type_is_refused_r504() -> None:
    with pytest.raises(ValueError, match='output_schema needs "type": "object"'):
        result_of([], output_schema={"type": "array"})


def test_structured_content_is_ready_json() -> None:
    assert isinstance(result_of(5, int).structured_content, msgspec.Raw)
    assert isinstance(result_of(Point(x=1), Point).structured_content, msgspec.Raw)
    assert result_of("a", str).content == [TextContent(text="a")]


@pytest.mark.parametrize(
    "annotation",
    [list, list[Any], list[object], tuple, Sequence, Iterable, list[Any] | None],
    ids=["list", "of any", "of object", "tuple", "sequence", "iterable", "or none"],
)
def test_blocks_in_an_array_of_anything_are_content_in_order(annotation: Any) -> None:
    def fn() -> Any:
        return ["a", TextContent(text="b"), Image(data=b"x", format="png"), 3]

    fn.__annotations__["return"] = annotation
    tool = make(fn)
    result = tool.result(fn())
    assert [getattr(block, "text", "image") for block in result.content] == ["a", "b", "image", "3"]
    sent = json.loads(bytes(result.structured_content))
    assert sent["result"][:2] == ["a", {"type": "text", "text": "b"}]
    assert not SchemaChecker(tool.definition.output_schema or {}).problems(sent)


def test_an_integer_of_more_digits_than_python_writes_is_no_internal_error() -> None:
    def fn() -> int:
        return 10**5000

    assert make(fn).result(fn()).content[0].text == "1" + "0" * 5000
