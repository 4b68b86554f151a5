"""`repairs.py`: arguments that came as strings, however many and however deep."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from enfilade.primitives.errors import ArgumentsError
from enfilade.primitives.values.repairs import repaired, rounds
from support.servers.tools_in_process import make, received

#: Makes arguments so large that arrays are given up at their first wrong item.
NOTE = "n" * 70_000


class Point(BaseModel):
    x: int
    y: int | None = None


class Nested(BaseModel):
    inner: Nested | None = None


class Board(BaseModel):
    rows: list[list[Point]] = []
    named: dict[str, Point] = {}


class Level(Enum):
    LOW = 1
    NONE = None


def takes(annotation: Any) -> Any:
    """Make a tool with a parameter `x` of this annotation and a free `note`; it returns `x`."""

    def fn(x, note=""):
        return x

    fn.__annotations__["x"] = annotation
    return make(fn, name="fn")


def complaint(annotation: Any, sent: Any, note: str = "") -> str:
    with pytest.raises(ArgumentsError) as caught:
        received(takes(annotation), {"x": sent, "note": note})
    return str(caught.value).removeprefix('Invalid arguments for tool "fn": ')


POINT = '{"x": 1, "y": "null"}'
MANY = {
    "items": (list[Point], [POINT] * 100, [Point(x=1)] * 100),
    "nulls among numbers": (list[int | None], ["null", 1] * 600, [None, 1] * 600),
    "members": (dict[str, Point], dict.fromkeys(map(str, range(100)), POINT), None),
    "nulls of members": (dict[str, int | None], dict.fromkeys(map(str, range(1100)), "null"), None),
    "items of items": (Board, {"rows": [[POINT] * 20] * 20, "named": {"a": POINT}}, None),
    "items that are strings of items": (list[list[Point]], [json.dumps([POINT] * 9)] * 9, [[Point(x=1)] * 9] * 9),
    "a pair": (list[tuple[Point, int | None]], [[POINT, "null"]] * 50, [(Point(x=1), None)] * 50),
}


@pytest.mark.parametrize("note", ["", NOTE], ids=["small", "large"])
@pytest.mark.parametrize(("annotation", "sent", "value"), MANY.values(), ids=MANY)
def test_all_items_are_repaired(annotation: Any, sent: Any, value: Any, note: str) -> None:
    received_value = received(takes(annotation), {"x": sent, "note": note})
    plain = json.loads(json.dumps(sent).replace(json.dumps(POINT), '{"x": 1}').replace('"null"', "null"))
    assert received_value == (received(takes(annotation), {"x": plain}) if value is None else value)


@pytest.mark.parametrize("note", ["", NOTE], ids=["small", "large"])
def test_the_item_that_is_wrong_is_named_and_not_one_that_could_be_repaired(note: str) -> None:
    points = ['{"x": 1}'] * 30 + ['{"x": "a"}'] + ['{"x": 1}'] * 30
    assert complaint(list[Point], points, note) == '"x[30].x" should be integer, got string "a"'


def test_a_place_is_named_however_many_are_wrong() -> None:
    assert complaint(list[int | None], ["a"] * 1001) == (
        'they are wrong in 1001 places; "x[0]" should be integer or null, got string "a"'
    )
    assert complaint(dict[str, int], dict.fromkeys(map(str, range(1001)), "a")) == (
        'they are wrong in 1001 places; "x.0" should be integer, got string "a"'
    )


def nested_strings(levels: int) -> str:
    text = "{}"
    for _ in range(levels - 1):
        text = json.dumps({"inner": text})
    return text


@pytest.mark.parametrize("levels", [2, 7, 12])
def test_strings_within_strings_are_read(levels: int) -> None:
    value = received(takes(Nested), {"x": nested_strings(levels)})
    for _ in range(levels - 1):
        value = value.inner
    assert value == Nested()


def test_rounds_are_bounded_by_what_they_read() -> None:
    assert len(rounds(10)) == 64
    assert len(rounds(4 * 1024 * 1024)) == 6
    assert len(rounds(2 * 1024 * 1024)) == 12


def test_a_handwritten_schema_repairs_all_items() -> None:
    def fn(x: Any) -> Any:
        return x

    items = {"type": "object", "properties": {"at": {"type": ["object", "null"]}}, "required": ["at"]}
    schema = {"type": "object", "properties": {"x": {"type": "array", "items": items}}, "required": ["x"]}
    tool = make(fn, input_schema=schema)
    assert received(tool, {"x": ['{"at": "null"}'] * 200}) == [{"at": None}] * 200


def test_what_may_be_a_string_is_left_alone_beside_what_is_repaired() -> None:
    schema: dict[str, Any] = {
        "properties": {
            "xs": {"items": {"anyOf": [{"type": "string"}, {"type": "object"}]}},
            "ys": {"items": {"anyOf": [{"allOf": [{"minLength": 2}]}, {"type": "object"}]}},
            "zs": {"prefixItems": [{"type": "object"}, {"type": "string"}]},
        }
    }
    values = {name: ["{}", "{}"] for name in schema["properties"]}
    paths = [(name, 0) for name in values]
    assert repaired(values, paths, schema) == {name: [{}, "{}"] for name in values}


@pytest.mark.parametrize(
    ("annotation", "sent", "value"),
    [
        (Literal[1, 2], "2", 2),
        (Literal[True], "true", True),
        (Literal[False], "False", False),
        (Literal["a", 1], "1", 1),
        (Literal["1", 1], "1", "1"),
        (Literal[1] | None, "null", None),
        (list[Literal[1, 2]], ["1", "2", 1], [1, 2, 1]),
        (Level, "1", Level.LOW),
        (Level, "null", Level.NONE),
        (Literal[Level.LOW], "1", Level.LOW),
    ],
    ids=str,
)
def test_choices_that_are_no_texts_are_read_from_text(annotation: Any, sent: Any, value: Any) -> None:
    assert received(takes(annotation), {"x": sent}) == value


def test_other_texts_are_none_of_the_choices() -> None:
    assert complaint(Literal[1, 2], "3") == '"x" should be 1 or 2, got string "3"'
    assert complaint(Literal[1, 2], "true") == '"x" should be 1 or 2, got string "true"'
