"""`foreign_classes.py`: type arguments of Structs and attrs classes, in parameters, fields and results."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, NotRequired, TypeVar

import attrs
import msgspec
import pytest
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeAliasType, TypedDict

from enfilade.primitives.errors import ArgumentsError
from support.servers.tools_in_process import answered, data_of, make, received

T = TypeVar("T")
U = TypeVar("U")


class Box(msgspec.Struct, Generic[T]):
    value: T


class Pair(Box[list[U]], Generic[U, T]):
    other: T


class Fixed(Box[int]):
    name: str = ""


class Chain(msgspec.Struct, Generic[T]):
    value: T
    next: "Chain[T] | None" = None


class Shelf(msgspec.Struct, Generic[T]):
    boxes: list[Box[T]]
    top: Box[str] | None = None


@attrs.define
class Page(Generic[T]):
    items: list[T]
    _total: Annotated[T, "how many"] | None = None


@attrs.define
class Book(Page[int]):
    title: str = ""


Boxed = TypeAliasType("Boxed", Box[T], type_params=(T,))


def tool_of(annotation: Any) -> Any:
    def fn(x: Any) -> Any:
        return x

    fn.__annotations__.update({"x": annotation, "return": annotation})
    return make(fn)


GENERIC = [
    (Box[int], {"value": 1}, {"value": "a"}, Box(1)),
    (Box[list[int]], {"value": [1]}, {"value": 1}, Box([1])),
    (Box[Box[int]], {"value": {"value": 1}}, {"value": {"value": "a"}}, Box(Box(1))),
    (Box[int] | None, {"value": 1}, {"value": "a"}, Box(1)),
    (Annotated[Box[int], "a text"], {"value": 1}, {"value": "a"}, Box(1)),
    (list[Box[int]], [{"value": 1}], [{"value": "a"}], [Box(1)]),
    (dict[str, Box[int]], {"a": {"value": 1}}, {"a": {"value": "a"}}, {"a": Box(1)}),
    (Pair[int, str], {"value": [1], "other": "b"}, {"value": ["a"], "other": "b"}, Pair([1], "b")),
    (Pair[int, str], {"value": [1], "other": "b"}, {"value": [1], "other": 2}, Pair([1], "b")),
    (Fixed, {"value": 1}, {"value": "a"}, Fixed(1)),
    (
        Chain[int],
        {"value": 1, "next": {"value": 2, "next": None}},
        {"value": 1, "next": {"value": "a"}},
        Chain(1, Chain(2)),
    ),
    (Shelf[int], {"boxes": [{"value": 1}]}, {"boxes": [{"value": "a"}]}, Shelf([Box(1)])),
    (Shelf[int], {"boxes": [], "top": {"value": "a"}}, {"boxes": [], "top": {"value": 1}}, Shelf([], Box("a"))),
    (Page[int], {"items": [1], "total": 2}, {"items": ["a"]}, Page([1], 2)),
    (Page[Box[int]], {"items": [{"value": 1}]}, {"items": [{"value": "a"}]}, Page([Box(1)])),
    (Book, {"items": [1]}, {"items": ["a"]}, Book([1])),
]


@pytest.mark.parametrize(("annotation", "good", "bad", "value"), GENERIC, ids=str)
def test_type_arguments_are_published_and_checked(annotation: Any, good: Any, bad: Any, value: Any) -> None:
    tool = tool_of(annotation)
    assert received(tool, {"x": good}) == value
    with pytest.raises(ArgumentsError):
        received(tool, {"x": bad})
    sent = data_of(answered(tool, {"x": good}))
    shown = sent.get("result", sent)
    assert shown == good or shown.items() >= good.items()


def test_each_use_has_its_own_arguments() -> None:
    def fn(a: Box[int], b: Box[str]) -> list[Any]:
        return [a.value, b.value]

    tool = make(fn)
    properties = tool.definition.input_schema["properties"]
    assert properties["a"]["properties"]["value"] == {"type": "integer"}
    assert properties["b"]["properties"]["value"] == {"type": "string"}
    assert properties["a"]["title"] == "Box[int]"
    assert received(tool, {"a": {"value": 1}, "b": {"value": "x"}}) == [1, "x"]


class InModel(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    one: Box[int]
    several: "dict[str, list[Box[str]]]" = {}
    pages: Page[int] | None = None


@dataclass
class InDataclass:
    one: Box[int]
    several: "dict[str, list[Box[str]]]" = field(default_factory=dict)
    pages: Page[int] | None = None


class InTypedDict(TypedDict):
    one: Box[int]
    several: NotRequired["dict[str, list[Box[str]]]"]
    pages: NotRequired[Page[int] | None]


class Holder(BaseModel, Generic[T]):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    one: Box[T]


@pytest.mark.parametrize(
    "annotation",
    [InModel, InDataclass, InTypedDict, list[InModel]],
    ids=["model", "dataclass", "TypedDict", "list"],
)
def test_fields_of_other_classes_have_them_as_well(annotation: Any) -> None:
    tool = tool_of(annotation)
    wrapped = annotation == list[InModel]
    good = {"one": {"value": 1}, "several": {"a": [{"value": "b"}]}, "pages": {"items": [1]}}
    sent = data_of(answered(tool, {"x": [good] if wrapped else good}))
    assert (sent["result"][0] if wrapped else sent)["several"] == good["several"]
    for bad in ({"one": {"value": "a"}}, {"several": {"a": [{"value": 1}]}}, {"pages": {"items": ["a"]}}):
        with pytest.raises(ArgumentsError, match=r'(value|items\[0\])" should be (integer|string), got'):
            received(tool, {"x": [good | bad] if wrapped else good | bad})


def test_a_generic_model_passes_its_argument_on() -> None:
    tool = tool_of(Holder[int])
    assert tool.definition.input_schema["properties"]["x"]["properties"]["one"]["title"] == "Box[int]"
    with pytest.raises(ArgumentsError, match=r'"x\.one\.value" should be integer'):
        received(tool, {"x": {"one": {"value": "a"}}})


def test_without_arguments_a_field_takes_anything() -> None:
    assert received(tool_of(Box), {"x": {"value": ["a", 1]}}) == Box(["a", 1])
