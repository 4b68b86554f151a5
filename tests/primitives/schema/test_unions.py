"""Unions of objects: read by a tag where that accepts the same, and at a cost that no level multiplies."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, NotRequired

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import TypedDict

from enfilade import Context, ToolError
from enfilade.primitives.schema.unions import Branching
from enfilade.primitives.tool import Tool, tool_from_function

_READ: list[int] = []


def _counted(value: int) -> int:
    _READ.append(value)
    return value


Counted = Annotated[int, AfterValidator(_counted)]


class Leaf(BaseModel):
    kind: Literal["leaf"]
    n: Counted
    children: list[Leaf | Branch | Root] = []


class Branch(BaseModel):
    kind: Literal["branch", "twig"]
    n: Counted
    children: list[Leaf | Branch | Root] = []


class Root(BaseModel):
    kind: Literal["root"]
    n: Counted
    children: list[Leaf | Branch | Root] = []


class Sum(BaseModel):
    kind: Literal["sum"] = "sum"
    n: Counted = 0
    of: list[Sum | Product] = []


class Product(BaseModel):
    kind: Literal["product"] = "product"
    n: Counted = 0
    of: list[Sum | Product] = []


@dataclass
class Circle:
    shape: Literal["circle"]
    inside: Circle | Square | None = None
    sizes: list[int] = field(default_factory=list)


@dataclass
class Square:
    shape: Literal["square"]
    inside: Circle | Square | None = None


class Plus(TypedDict):
    op: Literal["+"]
    left: NotRequired[Plus | Minus | int]


class Minus(TypedDict):
    op: Literal["-"]
    left: NotRequired[Plus | Minus | int]


class Level(StrEnum):
    LOW = "low"
    HIGH = "high"


class Low(BaseModel):
    level: Literal[Level.LOW] = Field(alias="Level")


class High(BaseModel):
    level: Literal[Level.HIGH] = Field(alias="Level")


class TaggedLate(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["late"]

    @model_validator(mode="before")
    @classmethod
    def _tag(cls, value: Any) -> Any:
        return {"kind": "late", **value} if isinstance(value, dict) else value


def _tool(annotation: Any) -> Tool:
    def take(value: Any) -> None:
        """Take a value."""

    take.__annotations__["value"] = annotation
    return tool_from_function(take, context_type=Context)


def _read(tool: Tool, value: Any) -> Any:
    return tool.bind(json.dumps({"value": value}).encode(), None)["value"]


def _nested(depth: int, kind: str, inner: str, members: str, n: Any = 1) -> dict[str, Any]:
    value: dict[str, Any] = {"kind": inner, "n": n}
    for _ in range(depth):
        value = {"kind": kind, "n": 1, members: [value]}
    return value


@pytest.mark.parametrize(
    ("inner", "n"), [("leaf", 1), ("stone", 1), ("leaf", "x")], ids=["good", "unknown tag", "wrong"]
)
def test_each_object_of_a_recursive_union_with_tags_is_read_once(inner: str, n: Any) -> None:
    tool = _tool(Leaf | Branch | Root)
    _READ.clear()
    try:
        _read(tool, _nested(9, "branch", inner, "children", n))
    except ToolError:
        assert (inner, n) != ("leaf", 1)
    assert 9 <= len(_READ) <= 4 * 10


@pytest.mark.parametrize("inner", ["sum", "stone"])
def test_arguments_nested_too_deeply_for_a_union_without_required_tags_are_refused_unread(inner: str) -> None:
    tool = _tool(Sum | Product)
    _READ.clear()
    with pytest.raises(ToolError, match='"value" is nested too deeply for its alternatives'):
        _read(tool, _nested(30, "sum", inner, "of"))
    assert not _READ


def test_unions_without_required_tags_are_read_some_levels_deep_and_in_any_number() -> None:
    assert isinstance(_read(_tool(Sum | Product), _nested(8, "product", "sum", "of")), Product)
    wide = {"kind": "sum", "of": [{"of": [{"kind": "product"}, {}]}] * 3000}
    assert len(_read(_tool(Sum | Product), wide).of) == 3000


def test_strings_of_json_are_counted_as_what_they_are_read_as() -> None:
    with pytest.raises(ToolError, match="nested too deeply for its alternatives"):
        _read(_tool(Sum | Product), json.dumps(_nested(30, "sum", "sum", "of")))


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        pytest.param(
            Leaf | Branch | Root,
            [{"kind": "twig", "n": 1}, {"n": 1}, {"kind": "x", "n": 1}, {"kind": None}, {"kind": "leaf"}, 5, []],
            id="models",
        ),
        pytest.param(
            Sum | Product, [{}, {"kind": "product"}, {"kind": "x"}, {"of": [{}, {"kind": "sum"}]}], id="defaults"
        ),
        pytest.param(
            Circle | Square | None,
            [
                None,
                {"shape": "square"},
                {},
                {"shape": "circle", "inside": {"shape": "circle", "sizes": [1]}},
                "x",
            ],
            id="dataclasses",
        ),
        pytest.param(
            Plus | Minus | int,
            [1, {"op": "-", "left": {"op": "+", "left": 2}}, {"op": "*"}, {}],
            id="typed dicts beside a number",
        ),
        pytest.param(Low | High, [{"Level": "high"}, {"level": "high"}, {"Level": "HIGH"}], id="aliases"),
        pytest.param(Leaf | TaggedLate, [{}, {"kind": "late"}, {"kind": "leaf", "n": 1}], id="a tag added late"),
        pytest.param(
            Leaf | dict[str, int], [{"kind": 1}, {"kind": "leaf", "n": 1}, {"n": 1}], id="beside any object"
        ),
    ],
)
def test_a_union_accepts_what_pydantic_accepts(annotation: Any, values: list[Any]) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    tool = _tool(annotation)
    for value in values:
        try:
            expected = adapter.validate_json(json.dumps(value))
        except ValidationError:
            with pytest.raises(ToolError):
                _read(tool, value)
        else:
            assert _read(tool, value) == expected


def test_errors_of_a_union_read_by_its_tag_name_the_place_and_the_tags() -> None:
    tool = _tool(Leaf | Branch | Root)
    with pytest.raises(ToolError) as caught:
        _read(tool, {"kind": "root", "n": 1, "children": [{"kind": "x", "n": 1}, {"kind": "twig", "n": "q"}]})
    assert str(caught.value).partition(": ")[2] == (
        '"value.children[0].kind" should be "leaf", "branch" or "twig" or "root", got string "x"; '
        '"value.children[1].n" should be integer, got string "q"'
    )


def test_a_union_that_is_read_by_its_tag_is_published_as_it_was() -> None:
    schema = _tool(Circle | Square).definition.input_schema["properties"]["value"]
    assert "anyOf" in schema
    assert "discriminator" not in schema


def test_unions_that_do_not_lead_back_to_themselves_are_not_bounded() -> None:
    class Plain(BaseModel):
        a: int | str = 1
        more: list[Plain] | dict[str, Plain] | None = None

    Plain.model_rebuild(_types_namespace={"Plain": Plain})
    assert not Branching(TypeAdapter(Plain).core_schema)
    assert Branching(TypeAdapter(Sum | Product).core_schema).of_objects == 2


def test_errors_in_more_than_a_thousand_places_name_the_first() -> None:
    tool = _tool(Sum | Product)
    with pytest.raises(ToolError, match=r"wrong in \d+ places; \"value"):
        _read(tool, {"of": [_nested(6, "sum", "stone", "of")] * 10})


@dataclass
class Numbered:
    kind: Literal["numbered"]
    id: int


@dataclass
class Named:
    kind: Literal["named"]
    id: str


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"kind": "numbered", "id": "x"}, '"value.id" should be integer, got string "x"'),
        ({"kind": "named", "id": 5}, '"value.id" should be string, got integer 5'),
        ({"kind": "numbered"}, '"value.id" is missing (expected integer)'),
        ({"kind": "named"}, '"value.id" is missing (expected string)'),
    ],
    ids=["integer", "string", "no integer", "no string"],
)
def test_a_member_is_told_the_type_that_its_tag_asks_for(value: Any, sentence: str) -> None:
    with pytest.raises(ToolError, match=re.escape(sentence)):
        _read(_tool(Annotated[Numbered | Named, Field(discriminator="kind")]), value)
