"""Forms: which Python type becomes which field, what each revision sees of it, and answers as values again."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Annotated, Any, Literal, Never, TypeVar

import attrs
import msgspec
import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, create_model
from typing_extensions import TypedDict

from enfilade import AnswerError, Choices, ToolError
from enfilade.primitives.questions.form import Form
from enfilade.primitives.questions.question import decoded, elicitation, elicited
from enfilade.wire.client_requests import ElicitRequestFormParams
from enfilade.wire.projection import InexpressibleError, project

SIZES = Choices({"s": "Small", "l": "Large"})
TITLED = [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Hat(Enum):
    CAP = "cap"
    NONE = None


FIELDS = [
    # the five shapes of choices (SEP-1330)
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
    # primitives (R-542)
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
    # as arguments are read
    (
        "members of an Enum",
        Literal[Color.RED, Color.BLUE],
        {"type": "string", "enum": ["red", "blue"]},
        "blue",
        Color.BLUE,
    ),
    (
        "multi of members of an Enum",
        list[Literal[Color.RED]],
        {"type": "array", "items": {"type": "string", "enum": ["red"]}},
        ["red"],
        [Color.RED],
    ),
    (
        "alternatives that are choices",
        Literal["a"] | Color,
        {"type": "string", "enum": ["a", "red", "blue"]},
        *["a"] * 2,
    ),
    ("bytes", bytes, {"type": "string"}, "aGk=", b"hi"),
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


@dataclass
class Chosen:
    color: Literal[Color.RED, Color.BLUE] = Color.RED
    several: list[Literal[Color.RED]] | None = None
    key: bytes = b"hi"


class Chooser(BaseModel):
    color: Literal[Color.RED, Color.BLUE]


@attrs.define
class Parcel:
    weight: int
    color: Literal[Color.RED] = Color.RED


class Letter(msgspec.Struct):
    pages: int
    sealed: bool = True


@pytest.mark.parametrize(
    ("wanted", "sent", "read"),
    [
        (Chosen, {"color": "blue", "several": ["red"], "key": "aG8="}, Chosen(Color.BLUE, [Color.RED], b"ho")),
        (Chosen, {}, Chosen()),
        (Chooser, {"color": "red"}, Chooser(color=Color.RED)),
        (Parcel, {"weight": 3}, Parcel(3)),
        (Letter, {"pages": 1, "sealed": False}, Letter(1, False)),
    ],
    ids=["dataclass", "its defaults", "model", "attrs", "Struct"],
)
def test_fields_are_read_as_arguments_are(wanted: Any, sent: dict[str, Any], read: Any) -> None:
    assert Form(wanted).read(sent) == read


class Open(BaseModel):
    age: int | None
    size: Annotated[str, SIZES] | None
    color: Literal["red", None]
    hat: Hat
    name: str


def test_what_may_be_null_may_be_left_out() -> None:
    """No form has null (R-542)."""
    form = Form(Open)
    assert form.schema == {
        "type": "object",
        "properties": {
            "age": {"type": "integer"},
            "size": {"type": "string", "oneOf": TITLED},
            "color": {"type": "string", "enum": ["red"]},
            "hat": {"type": "string", "enum": ["cap"]},
            "name": {"type": "string"},
        },
        "required": ["name"],
    }
    assert form.read({"name": "Ada"}) == Open(age=None, size=None, color=None, hat=Hat.NONE, name="Ada")
    with pytest.raises(AnswerError, match='"name" is missing'):
        form.read({})
    with pytest.raises(AnswerError, match='"age" should be integer'):
        form.read({"name": "Ada", "age": "old"})


@dataclass
class Visitor:
    name: str
    age: int | None = None
    count: int = 5


NULLABLE = {"type": "object", "properties": {"n": {"type": ["string", "null"]}, "t": {"type": "string"}}}


def answer_of(response_type: Any, content: dict[str, Any]) -> Any:
    """Return what a handler reads of an answer that a client sent as JSON."""
    sent = msgspec.json.encode({"action": "accept", "content": content})
    return elicited(decoded("elicitation/create", sent), Form(response_type)).data


@pytest.mark.parametrize(
    ("response_type", "content", "expected"),
    [
        (Visitor, {"name": "Ada", "age": None}, Visitor("Ada")),
        (str | None, {"value": None}, None),
        (NULLABLE, {"n": None}, {"n": None}),
        (Open, {"name": "Ada", "age": None}, Open(age=None, size=None, color=None, hat=Hat.NONE, name="Ada")),
        (None, {"extra": None}, None),
    ],
)
def test_null_in_an_answer_is_none_where_the_field_may_be(
    response_type: Any, content: dict[str, Any], expected: Any
) -> None:
    assert answer_of(response_type, content) == expected


@pytest.mark.parametrize(
    ("response_type", "content"),
    [
        (Visitor, {"name": "Ada", "age": None}),
        (str | None, {"value": None}),
        (NULLABLE, {"n": None}),
        (Open, {"name": "Ada"}),
    ],
)
def test_the_schema_that_is_kept_with_a_question_takes_null_where_the_type_does(
    response_type: Any, content: dict[str, Any]
) -> None:
    kept = elicitation("Who?", response_type).form
    assert kept is not None
    Form(msgspec.json.decode(kept)).read(content)


def test_what_was_left_out_of_an_answer_to_a_dict_is_null() -> None:
    schema = {"type": "object", "properties": {"k": {"type": ["integer", "null"]}}, "required": ["k"]}
    assert answer_of(schema, {}) == {"k": None}


@pytest.mark.parametrize(
    ("response_type", "content", "field"),
    [
        (Visitor, {"name": None}, "name"),
        (Visitor, {"name": "Ada", "count": None}, "count"),
        (str, {"value": None}, "value"),
        (NULLABLE, {"t": None}, "t"),
    ],
)
def test_null_for_any_other_field_names_it(response_type: Any, content: dict[str, Any], field: str) -> None:
    with pytest.raises(AnswerError, match=f'"{field}" should be .*, got null'):
        answer_of(response_type, content)


@pytest.mark.parametrize(
    ("wanted", "field", "sent", "read"),
    [
        (int | None, {"type": "integer"}, 3, 3),
        (Literal["a", None], {"type": "string", "enum": ["a"]}, "a", "a"),
        (Hat, {"type": "string", "enum": ["cap"]}, "cap", Hat.CAP),
        (Annotated[int | None, Field(ge=1)] | None, {"type": "integer", "minimum": 1}, 3, 3),
        (
            Annotated[str, Field(json_schema_extra={"type": ["string", "null"]})] | None,
            {"type": "string"},
            "a",
            "a",
        ),
    ],
    ids=str,
)
def test_a_single_field_may_be_left_out(wanted: Any, field: dict[str, Any], sent: str, read: Any) -> None:
    form = Form(wanted)
    assert form.schema == {"type": "object", "properties": {"value": field}}
    assert form.read({"value": sent}) == read
    assert form.read({}) in (None, Hat.NONE)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (float, float("inf")),
        (float, float("nan")),
        (datetime, datetime(2026, 7, 28)),
        (Annotated[int, Field(ge=1)], 0),
        (Annotated[str, Field(min_length=2)], ""),
        (Literal["a", "b"], "c"),
        (list[Literal["a", "b"]], ["c"]),
        (AnyUrl, "not a URI"),
        (bool, 1),
    ],
    ids=str,
)
def test_a_default_that_cannot_be_sent_is_not_shown(annotation: Any, default: Any) -> None:
    """It still holds where the field is left out."""
    model = create_model("Defaults", x=(annotation, default))
    form = Form(model)
    assert "default" not in form.schema["properties"]["x"]
    assert repr(form.read({})) == repr(model())


@pytest.mark.parametrize("limit", [Field(le=float("inf")), Field(ge=float("-inf"))], ids=["le", "ge"])
def test_a_limit_without_end_is_not_shown(limit: Any) -> None:
    assert Form(Annotated[float, limit]).schema["properties"]["value"] == {"type": "number"}


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


class Apple(BaseModel):
    kind: Literal["apple"]


class Pear(BaseModel):
    kind: Literal["pear"]


@pytest.mark.parametrize(
    "wanted",
    [
        *(list[str], list[int], list[Literal[1, 2]], Literal[1, 2], dict[str, int], int | str, Nested),
        *(Literal["a", True], Literal["a", 1, None], Literal[True], None | Literal[1], list[Literal["a", None]]),
        *(Enum("Mixed", {"A": "a", "B": 1}), Data | Typed, Annotated[Apple | Pear, Field(discriminator="kind")]),
    ],
    ids=str,
)
def test_what_no_form_can_ask_for(wanted: Any) -> None:
    """R-542: said to the author, with the field's name."""
    with pytest.raises(TypeError, match=r'cannot ask for "(value|inner)"'):
        Form(wanted)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (["a", "b"], r"['a', 'b'] is a value; for choices, write Literal[\"a\", \"b\"]"),
        (("a", "b"), "Choices({"),
        ({"a", "b"}, "Choices({"),
        ("a", "'a' is a value"),
        (5, "5 is a value"),
        (
            Data("x"),
            "a form asks for a type, and Data(...) is none; give a class, such as bool, str or a model",
        ),
        (Model(), "a form asks for a type, and Model(...) is none; give a class"),
        (lambda: 1, "a form asks for a type, and <lambda>() is none; give a class"),
        (print, "a form asks for a type, and print() is none; give a class"),
        (..., "a form asks for a type, and ... is none; give a class"),
        (iter([str]), "is none; give a class"),
        (Literal, "a form cannot ask for Literal: Literal alone is no type; write what it is of"),
        (Never, "a form cannot ask for Never: no value is of the type Never"),
        (TypeVar("T"), "a form cannot ask for T: the type variable T says nothing"),
        (type("Plain", (), {}), "a form cannot ask for Plain: no JSON can be read as its type"),
        (
            create_model("Titled", a=(str, Field(json_schema_extra={"title": 5}))),
            'a form cannot ask for Titled: member "value.a": its JSON Schema gives "title" integer 5',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_type_is_refused(wanted: Any, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        Form(wanted)
    assert words.replace("\\", "") in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"s": "Small", "l": "Large"}, "Choices({"),
        ({"properties": {"a": {"type": "string"}}}, '"type": "object"'),
        ({"type": "string"}, '"type": "object"'),
        ({"type": "object", "properties": ["a"]}, '"type": "object"'),
        ({"type": "object", "properties": {"a": "string"}}, "this dict: this is no JSON Schema"),
        ({"type": "object", "properties": {"a": True}}, 'cannot ask for "a"'),
        ({"type": "object", "properties": {"a": {}}}, 'cannot ask for "a"'),
        ({"type": "object", "properties": {"a": {"type": "object"}}}, 'cannot ask for "a"'),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "this is no JSON Schema"),
        ({"type": "object", "properties": {"a": {"enum": [1, 2]}}}, 'cannot ask for "a"'),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, "a list must be one of choices"),
        ({"type": "object", "properties": {"a": {"type": "string", "oneOf": [{"type": "null"}]}}}, '"a"'),
        ({"type": "object", "properties": {}, "required": ["a"]}, 'cannot require "a"'),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}, "leads nowhere"),
    ],
    ids=str,
)
def test_a_dict_that_is_no_form_is_refused(schema: dict[str, Any], words: str) -> None:
    """It would reach the client, which fails over it."""
    with pytest.raises(TypeError) as caught:
        Form(schema)
    assert words in str(caught.value)


def test_a_dict_is_brought_into_the_shape_of_a_form() -> None:
    """What the client does not know is left out, and still checked."""
    form = Form(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "name": {"$ref": "#/$defs/Name"},
                "age": {"type": ["integer", "null"], "multipleOf": 2},
                "size": {"type": "string", "anyOf": TITLED},
                "mood": {"enum": ["good", "bad"], "default": "none"},
            },
            "required": ["name", "age"],
            "$defs": {"Name": {"type": "string", "title": "Name", "pattern": "^A", "format": "name"}},
        }
    )
    assert form.schema == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "size": {"type": "string", "oneOf": TITLED},
            "mood": {"type": "string", "enum": ["good", "bad"]},
        },
        "required": ["name"],
    }
    assert form.read({"name": "Ada", "size": "s"}) == {"name": "Ada", "age": None, "size": "s"}
    with pytest.raises(AnswerError, match='"name" should match'):
        form.read({"name": "Bob"})
    assert Form(form.schema).schema == form.schema


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
    """R-540: titles as `enumNames`, and no `mode`."""
    params = ElicitRequestFormParams(message="?", requested_schema=Form(wanted).schema)
    seen: Any = project(params, "2025-06-18")
    assert seen.requested_schema["properties"]["value"] == field
    assert seen.mode is not params.mode


def test_defaults_are_left_out_for_2025_06_18_except_of_booleans() -> None:
    """R-501: 2025-06-18 defines no others."""
    params = ElicitRequestFormParams(message="?", requested_schema=Form(Model).schema)
    with pytest.raises(InexpressibleError, match="several"):
        project(params, "2025-06-18")
    del params.requested_schema["properties"]["several"]
    seen: Any = project(params, "2025-06-18")
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
