"""`schemas.py`: a default is published only if it gives the declared one when it is sent back."""

import enum
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import attrs
import msgspec
import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretBytes,
    SecretStr,
    StringConstraints,
    WrapSerializer,
)
from typing_extensions import TypedDict

from support.servers.tools_in_process import make, received


class Excluding(BaseModel):
    a: int = Field(1, exclude=True)
    b: int = 2


class Login(BaseModel):
    user: str = "u"
    password: SecretStr = SecretStr("hunter2")


class Lower(BaseModel):
    model_config = ConfigDict(str_to_lower=True)
    low: str = "abc"
    mixed: str = "ABC"


@dataclass
class Span:
    days: int = 1
    parts: tuple[int, ...] = (1,)


class Record(msgspec.Struct):
    a: int = 1
    on: date = date(2020, 1, 1)


@attrs.define
class Item:
    _a: int = 1
    on: date = date(2020, 1, 1)


class Settings(TypedDict, total=False):
    secret: Annotated[SecretStr, Field(default=SecretStr("x"))]


class Unmeasured(BaseModel):
    a: float | None = math.nan
    b: Any = math.nan


class Colour(enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    DARK = "dark"


class Tree(BaseModel):
    name: str = "root"
    children: "list[Tree]" = []


def taking(annotation: Any, default: Any) -> Any:
    def fn(x: Any = default) -> Any:
        return x

    fn.__annotations__["x"] = annotation
    return make(fn)


def raising(value: int) -> int:
    raise LookupError("the database is not there")


def doubled(value: int) -> int:
    return 2 * value


LOST = [
    (SecretStr, SecretStr("hunter2")),
    (SecretBytes, SecretBytes(b"hunter2")),
    (SecretStr | None, SecretStr("hunter2")),
    (list[SecretStr], [SecretStr("hunter2")]),
    (Login, Login()),
    (dict[str, Login], {"a": Login()}),
    (Excluding, Excluding(a=7)),
    (date | str, "2020-01-01"),
    (str | date, date(2020, 1, 1)),
    (date, "2020-01-01"),
    (bytes | str, "abcd"),
    (re.Pattern[str], re.compile("a", re.IGNORECASE)),
    (Any, date(2020, 1, 1)),
    (Any, b"abc"),
    (Any, math.inf),
    (object, -math.inf),
    (float | None, math.inf),
    (list[float], [math.inf]),
    (float | str, -math.inf),
    (Any, {1}),
    (object, (1, 2)),
    (list[int] | tuple[int, ...], (1, 2)),
    (Colour, "red"),
    (Span, {"days": 2}),
    (Annotated[str, StringConstraints(strip_whitespace=True)], " a"),
    (Annotated[str, StringConstraints(to_lower=True)] | None, "A"),
    (Annotated[int, AfterValidator(doubled)], 4),
    (Annotated[int, AfterValidator(raising)], 4),
    (dict[str, Any], {"$ref": "#/x"}),
    (Any, [{"a": {"$ref": "nowhere"}}]),
]


@pytest.mark.parametrize(("annotation", "default"), LOST, ids=lambda value: re.sub(r" at 0x\w+", "", str(value)))
def test_a_default_that_would_come_back_otherwise_is_left_out(annotation: Any, default: Any) -> None:
    tool = taking(annotation, default)
    schema = tool.definition.input_schema
    assert "default" not in schema["properties"]["x"]
    assert schema.get("required", []) == []
    assert received(tool, {}) == default


KEPT: list[tuple[Any, Any]] = [
    (str, "a"),
    (int | None, None),
    (float, 5),
    (Decimal, 0),
    (Decimal, Decimal("1.10")),
    (date, date(2020, 1, 1)),
    (timedelta, timedelta(days=1)),
    (bytes, b"\xff\xfe"),
    (UUID, UUID(int=5)),
    (Path, Path("x/y")),
    (re.Pattern[str], re.compile("a")),
    (Colour, Colour.RED),
    (Shade, "dark"),
    (set[int], {3, 1}),
    (frozenset[str], frozenset("a")),
    (tuple[int, ...], (1, 2)),
    (list[Tree], []),
    (Tree, Tree(children=[Tree(name="leaf")])),
    (dict[int, str], {1: "a"}),
    (Any, {"a": [1, None]}),
    (Excluding, Excluding()),
    (Span, Span(2)),
    (Record, Record(3)),
    (list[Record], [Record(3)]),
    (Item, Item(3)),
    (Item | None, Item(3)),
]


@pytest.mark.parametrize(("annotation", "default"), KEPT, ids=str)
def test_a_published_default_comes_back(annotation: Any, default: Any) -> None:
    tool = taking(annotation, default)
    part = tool.definition.input_schema["properties"]["x"]
    value = received(tool, {"x": part["default"]})
    assert value == default
    assert isinstance(value, (type(default), float, Decimal))


@pytest.mark.parametrize(
    ("annotation", "default", "published"),
    [
        (list[int], (), []),
        (list[int] | None, (1, 2), [1, 2]),
        (Sequence[int], (1, 2), [1, 2]),
        (set[int], frozenset(), []),
        (frozenset[int], {1}, [1]),
        (tuple[int, ...], [1], [1]),
    ],
    ids=str,
)
def test_a_default_of_an_immutable_kind_is_published(annotation: Any, default: Any, published: Any) -> None:
    tool = taking(annotation, default)
    assert tool.definition.input_schema["properties"]["x"]["default"] == published
    assert received(tool, {}) == default


@pytest.mark.parametrize(
    ("annotation", "published"),
    [
        pytest.param(Login, {"user": "u"}, id="model"),
        pytest.param(Lower, {"low": "abc"}, id="config of a model"),
        pytest.param(Record, {"a": 1, "on": "2020-01-01"}, id="struct"),
        pytest.param(Item, {"a": 1, "on": "2020-01-01"}, id="attrs"),
        pytest.param(Settings, {}, id="TypedDict"),
        pytest.param(Unmeasured, {}, id="not a number"),
    ],
)
def test_the_same_goes_for_the_fields_of_classes(annotation: Any, published: dict[str, Any]) -> None:
    def fn(x: Any) -> None: ...

    fn.__annotations__["x"] = annotation
    properties = make(fn).definition.input_schema["properties"]["x"]["properties"]
    assert {name: part["default"] for name, part in properties.items() if "default" in part} == published


class Written(BaseModel):
    items: list[Annotated[int, WrapSerializer(lambda value, handler: str(value))]] = [1]
    nested: dict[str, list[Annotated[int, PlainSerializer(str)]]] = {"a": [1]}
    whole: Annotated[int, PlainSerializer(str)] = 1
    plain: list[int] = [1]


def test_a_default_of_a_result_that_a_serializer_may_change_is_left_out() -> None:
    def give() -> Written:
        return Written()

    published = make(give).definition.output_schema
    assert isinstance(published, dict)
    defaults = {name: member.get("default") for name, member in published["properties"].items()}
    assert defaults == {"items": None, "nested": None, "whole": "1", "plain": [1]}
