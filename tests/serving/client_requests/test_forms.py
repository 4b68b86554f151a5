"""Forms: which Python type becomes which field, what each revision sees of it, and answers as values again."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from enfilade import AnswerError, Choices, ToolError
from enfilade.primitives.questions.form import Form
from enfilade.wire.elicitation import ElicitRequestFormParams
from enfilade.wire.projection import InexpressibleError, visible

SIZES = Choices({"s": "Small", "l": "Large"})
TITLED = [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]


class Color(Enum):
    RED = "red"
    BLUE = "blue"


FIELDS = [
    # the five shapes of choices (protocol §5.2, SEP-1330)
    ("untitled single", Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, "a", "a"),
    ("one text", Literal["a"], {"type": "string", "enum": ["a"]}, "a", "a"),
    ("an Enum", Color, {"type": "string", "enum": ["red", "blue"]}, "red", Color.RED),
    ("titled single", SIZES, {"type": "string", "oneOf": TITLED}, "l", "l"),
    ("titled in an annotation", Annotated[str, SIZES], {"type": "string", "oneOf": TITLED}, "l", "l"),
    (
        "untitled multi",
        list[Literal["a", "b"]],
        {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        ["b"],
        ["b"],
    ),
    (
        "multi of an Enum",
        list[Color],
        {"type": "array", "items": {"type": "string", "enum": ["red", "blue"]}},
        ["blue", "red"],
        [Color.BLUE, Color.RED],
    ),
    ("titled multi", list[Annotated[str, SIZES]], {"type": "array", "items": {"anyOf": TITLED}}, ["s"], ["s"]),
    (
        "so many",
        Annotated[list[Literal["a", "b"]], Field(min_length=1, max_length=2)],
        {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string", "enum": ["a", "b"]}},
        ["a"],
        ["a"],
    ),
    ("a set", set[Literal["a"]], {"type": "array", "items": {"type": "string", "enum": ["a"]}}, ["a"], {"a"}),
    (
        "legacy names of choices",
        Annotated[Literal["s", "l"], Field(json_schema_extra={"enumNames": ["Small", "Large"]})],
        {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]},
        "s",
        "s",
    ),
    # primitives
    ("text", str, {"type": "string"}, "x", "x"),
    ("yes or no", bool, {"type": "boolean"}, True, True),
    ("integer", int, {"type": "integer"}, 7, 7),
    ("number", float, {"type": "number"}, 1.5, 1.5),
    (
        "limits of a number",
        Annotated[int, Field(ge=1, le=9)],
        {"type": "integer", "minimum": 1, "maximum": 9},
        3,
        3,
    ),
    (
        "limits of a text, without its pattern (C-11)",
        Annotated[str, Field(min_length=1, max_length=3, pattern="^a")],
        {"type": "string", "minLength": 1, "maxLength": 3},
        "ab",
        "ab",
    ),
    ("a date", date, {"type": "string", "format": "date"}, "2026-07-28", date(2026, 7, 28)),
    (
        "a time",
        datetime,
        {"type": "string", "format": "date-time"},
        "2026-07-28T12:00:00Z",
        datetime(2026, 7, 28, 12, tzinfo=UTC),
    ),
    (
        "a URI",
        AnyUrl,
        {"type": "string", "minLength": 1, "format": "uri"},
        "https://x.example/",
        AnyUrl("https://x.example/"),
    ),
    (
        "an email address",
        Annotated[str, Field(json_schema_extra={"format": "email"})],
        {"type": "string", "format": "email"},
        "a@x.example",
        "a@x.example",
    ),
    (
        "words for people",
        Annotated[str, Field(title="Name", description="Yours")],
        {"type": "string", "title": "Name", "description": "Yours"},
        "x",
        "x",
    ),
]


@pytest.mark.parametrize(
    ("wanted", "field", "sent", "read"), [row[1:] for row in FIELDS], ids=[row[0] for row in FIELDS]
)
def test_a_single_field(wanted: Any, field: dict[str, Any], sent: Any, read: Any) -> None:
    """R-542, R-543."""
    form = Form(wanted)
    assert form.schema == {"type": "object", "properties": {"value": field}, "required": ["value"]}
    assert form.read({"value": sent}) == read


class Model(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Literal["active", "inactive"] = "active"
    color: Color = Color.BLUE
    size: Annotated[str, SIZES] = "l"
    several: list[Literal["a", "b"]] = ["a"]
    born: date = date(2000, 1, 2)
    verified: bool = True
    nickname: str | None = None


@dataclass
class Data:
    name: str
    age: int = 3


class Typed(TypedDict):
    name: str


def test_defaults_of_all_kinds() -> None:
    """SEP-1034; `None` is said by leaving the field out."""
    form = Form(Model)
    assert {name: field.get("default") for name, field in form.schema["properties"].items()} == {
        "name": "John Doe",
        "age": 30,
        "score": 95.5,
        "status": "active",
        "color": "blue",
        "size": "l",
        "several": ["a"],
        "born": "2000-01-02",
        "verified": True,
        "nickname": None,
    }
    assert "required" not in form.schema
    assert form.schema["properties"]["nickname"] == {"type": "string"}
    assert form.read({}) == Model()


@pytest.mark.parametrize(
    ("wanted", "sent", "read"),
    [
        (Data, {"name": "Ada"}, Data("Ada", 3)),
        (Typed, {"name": "Ada"}, {"name": "Ada"}),
        (Model, {"born": "2026-01-01", "color": "red"}, Model(born=date(2026, 1, 1), color=Color.RED)),
        (None, {}, None),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": 1}, {"a": 1}),
    ],
    ids=["dataclass", "TypedDict", "strict model", "consent", "schema"],
)
def test_answers_become_what_was_wanted(wanted: Any, sent: dict[str, Any], read: Any) -> None:
    """R-543: a date in a strict model too, as it is read from JSON."""
    assert Form(wanted).read(sent) == read


@pytest.mark.parametrize(
    ("wanted", "sent", "words"),
    [
        (Data, {"age": "old"}, ["name", "is missing", "age", "integer"]),
        (SIZES, {"value": "xl"}, ['"s" or "l"']),
        (Annotated[str, Field(pattern="^a")], {"value": "b"}, ["should match ^a"]),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": "1"}, ["a", "integer"]),
    ],
    ids=["dataclass", "choices", "what no form can say", "schema"],
)
def test_answers_that_do_not_fit(wanted: Any, sent: dict[str, Any], words: list[str]) -> None:
    """R-298, R-543."""
    with pytest.raises(AnswerError) as raised:
        Form(wanted).read(sent)
    assert isinstance(raised.value, ToolError)
    assert [word for word in words if word not in raised.value.message] == []


class Nested(BaseModel):
    inner: Data


@pytest.mark.parametrize(
    "wanted",
    [list[str], list[int], list[Literal[1, 2]], Literal[1, 2], dict[str, int], int | str, Nested],
    ids=str,
)
def test_what_no_form_can_ask_for(wanted: Any) -> None:
    """R-542: said to the author, with the field's name."""
    with pytest.raises(TypeError, match=r'cannot ask for "(value|inner)"'):
        Form(wanted)


def test_choices_must_be_choices_of_text() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Choices({})
    with pytest.raises(TypeError, match="beside str"):
        Form(Annotated[int, SIZES])


LEGACY = {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]}


def test_a_schema_is_sent_as_it_is() -> None:
    """SEP-1330: the legacy names of choices among others."""
    schema = {"type": "object", "properties": {"size": LEGACY}}
    assert Form(schema).schema == schema


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (SIZES, LEGACY),
        (Literal["a"], {"type": "string", "enum": ["a"]}),
        (date, {"type": "string", "format": "date"}),
    ],
    ids=str,
)
def test_what_2025_06_18_sees(wanted: Any, field: dict[str, Any]) -> None:
    """§5.2, R-540: titles as `enumNames`, and no `mode`."""
    params = ElicitRequestFormParams(message="?", requested_schema=Form(wanted).schema)
    seen: Any = visible(params, "2025-06-18")
    assert seen.requested_schema["properties"]["value"] == field
    assert seen.mode is not params.mode


def test_defaults_are_left_out_for_2025_06_18_except_of_booleans() -> None:
    """§5.2."""
    params = ElicitRequestFormParams(message="?", requested_schema=Form(Model).schema)
    with pytest.raises(InexpressibleError, match="several"):
        visible(params, "2025-06-18")
    del params.requested_schema["properties"]["several"]
    seen: Any = visible(params, "2025-06-18")
    defaults = {name for name, each in seen.requested_schema["properties"].items() if "default" in each}
    assert defaults == {"verified"}


def test_an_answer_is_explained_as_arguments_are() -> None:
    class Seat(BaseModel):
        where: Literal["window", "aisle"]
        row: Annotated[int, Field(le=30)]

    with pytest.raises(AnswerError) as caught:
        Form(Seat).read({"where": "roof", "row": 31})
    assert str(caught.value) == (
        'The answer does not fit the question: "where" should be "window" or "aisle", got string "roof"; '
        '"row" should be at most 30, got integer 31'
    )
