"""Arguments: what a function receives, and what a caller is told (D40, D47, D48)."""

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel, Field, SecretStr
from typing_extensions import TypedDict

from enfilade.primitives.errors import ArgumentsError
from support.servers.tools_in_process import make, received


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    x: int
    y: int = Field(0, ge=0)


@dataclasses.dataclass
class Box:
    name: str
    size: float = 1.0


class Row(TypedDict):
    id: int


class Pair(NamedTuple):
    left: int
    right: str


class Tree(BaseModel):
    children: list["Tree"] = []


def takes(annotation: Any, default: Any = ...) -> Any:
    """Make a tool whose parameter `x` has this annotation, and that returns what it receives."""

    def fn(x):
        return x

    fn.__annotations__["x"] = annotation
    if default is not ...:
        fn.__defaults__ = (default,)
    return make(fn)


def schema_of(annotation: Any, default: Any = ...) -> Any:
    return takes(annotation, default).definition.input_schema["properties"]["x"]


TYPES = {
    "int": (int, 5, 5),
    "int from text": (int, "5", 5),
    "float": (float, 2, 2.0),
    "bool": (bool, True, True),
    "str": (str, "é", "é"),
    "none": (None, None, None),
    "any": (Any, {"a": [1]}, {"a": [1]}),
    "bare list": (list, [1, "a"], [1, "a"]),
    "bare dict": (dict, {"a": 1}, {"a": 1}),
    "list of list": (list[list[int]], [[1], []], [[1], []]),
    "tuple": (tuple[int, str], [1, "a"], (1, "a")),
    "set": (set[int], [1, 1], {1}),
    "union keeps text": (int | str, "5", "5"),
    "union keeps number": (str | int, 5, 5),
    "typing.Union": (Union[int, str], 5, 5),  # noqa: UP007 - what older modules say
    "optional": (int | None, None, None),
    "typing.Optional": (Optional[int], 3, 3),  # noqa: UP045 - likewise
    "literal int": (Literal[1, 2], 2, 2),
    "literal mixed": (Literal["a", 1], "a", "a"),
    "enum": (Colour, "blue", Colour.BLUE),
    "date": (datetime.date, "2024-02-29", datetime.date(2024, 2, 29)),
    "datetime": (
        datetime.datetime,
        "2024-02-29T01:02:03Z",
        datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.UTC),
    ),
    "timedelta": (datetime.timedelta, "PT5S", datetime.timedelta(seconds=5)),
    "uuid": (
        uuid.UUID,
        "12345678-1234-5678-1234-567812345678",
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
    ),
    "decimal": (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    "path": (Path, "a/b", Path("a/b")),
    "bytes": (bytes, "+/8=", b"\xfb\xff"),
    "bytes url-safe": (bytes, "-_8=", b"\xfb\xff"),
    "list of bytes": (list[bytes], ["AA=="], [b"\0"]),
    "model": (Point, {"x": 1}, Point(x=1)),
    "dict of models": (dict[str, Point], {"a": {"x": 1, "y": 2}}, {"a": Point(x=1, y=2)}),
    "optional model": (Point | None, {"x": 1}, Point(x=1)),
    "recursive model": (Tree, {"children": [{}]}, Tree(children=[Tree()])),
    "dataclass": (Box, {"name": "a"}, Box("a")),
    "typed dict": (Row, {"id": 1}, {"id": 1}),
    "named tuple": (Pair, [1, "a"], Pair(1, "a")),
    "constrained": (Annotated[int, Field(ge=1, le=9)], 9, 9),
    "big integer": (int, 2**63 + 1, 2**63 + 1),
}


@pytest.mark.parametrize(("annotation", "sent", "expected"), TYPES.values(), ids=TYPES)
def test_types_arrive_as_declared_d48(annotation: Any, sent: Any, expected: Any) -> None:
    found = received(takes(annotation), {"x": sent})
    assert found == expected
    assert type(found) is type(expected)


def test_bytes_in_dataclasses_and_typed_dicts_are_base64_too() -> None:
    @dataclasses.dataclass
    class Blob:
        data: bytes

    assert received(takes(Blob), {"x": {"data": "AP8="}}) == Blob(b"\x00\xff")


SCHEMAS = {
    "constraints": (Annotated[int, Field(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}),
    "literal": (Literal[1, 2], {"type": "integer", "enum": [1, 2]}),
    "description as text": (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
    "description as text beside null": (
        Annotated[str, "why"] | None,
        {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "why"},
    ),
    "description as text in Optional": (
        Optional[Annotated[Annotated[int, Field(ge=1)], "why"]],  # noqa: UP045
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "description": "why"},
    ),
    "description as text around null": (
        Annotated[Annotated[str, "within"] | None, "why"],
        {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "why"},
    ),
    "description of Field": (Annotated[int, Field(description="n")], {"type": "integer", "description": "n"}),
    "title that an author gave": (Annotated[int, Field(title="Count")], {"type": "integer", "title": "Count"}),
    "bytes": (bytes, {"type": "string", "contentEncoding": "base64"}),
    "any": (Any, {}),
    "set": (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
}


@pytest.mark.parametrize(("annotation", "expected"), SCHEMAS.values(), ids=SCHEMAS)
def test_schema_of_a_parameter(annotation: Any, expected: Any) -> None:
    assert schema_of(annotation) == expected


def test_schema_is_right_at_every_depth() -> None:
    definition = takes(list[Point]).definition.input_schema
    assert definition["properties"]["x"]["items"] == {
        "type": "object",
        "title": "Point",
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "minimum": 0, "default": 0}},
        "required": ["x"],
    }
    assert definition["additionalProperties"] is False
    assert "title" not in definition


def test_tool_without_arguments_r512() -> None:
    def ping():
        return "pong"

    tool = make(ping)
    assert tool.definition.input_schema == {"type": "object", "properties": {}, "additionalProperties": False}
    for raw in (None, b"{}", b" null ", msgspec.Raw(b"{}")):
        assert tool.bind(raw, None) == {}


DEFAULTS = {
    "plain": (int, 5, {"type": "integer", "default": 5}, 5),
    "Field": (int, Field(5, ge=1), {"type": "integer", "default": 5, "minimum": 1}, 5),
    "factory": (list[int], Field(default_factory=list), {"type": "array", "items": {"type": "integer"}}, []),
    "in Annotated": (Annotated[int, Field(default=7)], ..., {"type": "integer", "default": 7}, 7),
    "enum": (
        Colour,
        Colour.RED,
        {"type": "string", "title": "Colour", "enum": ["red", "blue"], "default": "red"},
        Colour.RED,
    ),
    "None without Optional": (
        int,
        None,
        {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        None,
    ),
    "bytes": (bytes, b"\xff", {"type": "string", "contentEncoding": "base64", "default": "/w=="}, b"\xff"),
}


@pytest.mark.parametrize(("annotation", "default", "schema", "value"), DEFAULTS.values(), ids=DEFAULTS)
def test_defaults(annotation: Any, default: Any, schema: Any, value: Any) -> None:
    tool = takes(annotation, default)
    assert tool.definition.input_schema["properties"]["x"] == schema
    assert "required" not in tool.definition.input_schema
    assert received(tool, {}) == value


def test_a_default_that_json_cannot_hold_is_not_published(recwarn: pytest.WarningsRecorder) -> None:
    marker = object()
    tool = takes(Any, marker)
    assert tool.definition.input_schema["properties"]["x"] == {}
    assert received(tool) is marker
    assert not recwarn.list


class Wrong(BaseModel):
    i: int = "oops"  # type: ignore[assignment]


def test_a_default_that_holds_a_wrong_value_is_not_published(recwarn: pytest.WarningsRecorder) -> None:
    tool = takes(Wrong, Wrong())
    assert "default" not in tool.definition.input_schema["properties"]["x"]
    assert not recwarn.list


def test_a_mutable_default_is_not_shared_between_calls() -> None:
    tool = takes(list[int], [])
    received(tool).append(1)
    assert received(tool) == []


def test_field_without_default_is_required() -> None:
    assert takes(int, Field(ge=1)).definition.input_schema["required"] == ["x"]


def test_alias_is_the_name_on_the_wire() -> None:
    def search(from_: Annotated[str, Field(alias="from")], to: str = "b") -> str:
        return from_ + to

    tool = make(search)
    assert list(tool.definition.input_schema["properties"]) == ["from", "to"]
    assert received(tool, {"from": "a"}) == "ab"


NAMES = [
    "context",
    "func",
    "self_",
    "model_config",
    "schema",
    "copy",
    "json",
    "_private",
    "class_",
    "definition",
    "args",
    "kwargs",
    "name",
    "arguments",
    "fn",
    "bound",
    "context_type",
    "input_schema",
    "raw",
    "__x",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_an_ordinary_parameter_d47(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def fn({name}: int, other: str = ''):\n    return {name}", scope)
    tool = make(scope["fn"])
    assert list(tool.definition.input_schema["properties"]) == [name, "other"]
    assert received(tool, {name: 5}) == 5


def add(a: int, b: int) -> int:
    return a + b


def nested(
    items: list[Point], mode: Literal["fast", "slow"] = "fast", limit: Annotated[int, Field(le=3)] = 1
) -> None:
    """Take something deeper."""


def secret(key: SecretStr, other: SecretStr | None = None) -> None:
    """Take a secret."""


class Login(BaseModel):
    user: str
    password: SecretStr
    port: int = 1


def log_in(login: Login, more: list[Login] = [], either: Login | int = 1) -> None:
    """Take what has a secret in it."""


def union(x: int | list[int]) -> None:
    """Take either."""


START = 'Invalid arguments for tool "add": '
COMPLAINTS = {
    "missing and unknown": (
        add,
        {"a": 1, "c": 2},
        '"b" is missing (expected integer); "c" is not an argument of this tool (it takes: a, b)',
    ),
    "none at all": (add, {}, '"a" is missing (expected integer); "b" is missing (expected integer)'),
    "wrong type": (
        add,
        {"a": "x", "b": [1]},
        '"a" should be integer, got string "x"; "b" should be integer, got array',
    ),
    "null": (add, {"a": None, "b": 1}, '"a" should be integer, got null'),
    "fraction": (add, {"a": 1.5, "b": 1}, '"a" should be integer, got number 1.5'),
    "near miss": (
        nested,
        {"items": [], "limits": 1},
        '"limits" is not an argument of this tool (did you mean "limit"?)',
    ),
    "not the near miss that is given": (
        nested,
        {"items": [], "limit": 1, "limits": 1},
        '"limits" is not an argument of this tool (it takes: items, mode, limit)',
    ),
    "choice": (nested, {"items": [], "mode": "fats"}, '"mode" should be "fast" or "slow", got string "fats"'),
    "constraint": (nested, {"items": [], "limit": 4}, '"limit" should be at most 3, got integer 4'),
    "deep": (nested, {"items": [{"x": 1}, {"x": "a"}]}, '"items[1].x" should be integer, got string "a"'),
    "deep missing": (nested, {"items": [{}]}, '"items[0].x" is missing (expected integer)'),
    "union": (union, {"x": "a"}, '"x" should be integer or array of integer, got string "a"'),
    "union with an object": (union, {"x": {"a": 1}}, '"x" should be integer or array of integer, got object'),
    "union with a number": (union, {"x": 1.5}, '"x" should be integer or array of integer, got number 1.5'),
    "long text is cut": (add, {"a": "x" * 99, "b": 1}, f'"a" should be integer, got string "{"x" * 23}…"'),
    "secret": (secret, {"key": 12345}, '"key" should be string (password), got integer'),
    "optional secret": (
        secret,
        {"key": "a", "other": 98765},
        '"other" should be string (password) or null, got integer',
    ),
    "text for an object with a secret": (log_in, {"login": "hunter2"}, '"login" should be object, got string'),
    "text for an array with secrets": (
        log_in,
        {"login": {"user": "a", "password": "b"}, "more": "hunter2"},
        '"more" should be array of object, got string',
    ),
    "text for an item with a secret": (
        log_in,
        {"login": {"user": "a", "password": "b"}, "more": ["hunter2"]},
        '"more[0]" should be object, got string',
    ),
    "text for one of several with a secret": (
        log_in,
        {"login": {"user": "a", "password": "b"}, "either": "hunter2"},
        '"either" should be object or integer, got string',
    ),
    "member beside a secret": (
        log_in,
        {"login": {"user": "a", "password": "b", "port": "x"}},
        '"login.port" should be integer, got string "x"',
    ),
    "text for all with a secret in it": (log_in, "hunter2", "they should be an object, got string"),
    "array": (add, [1, 2], "they should be an object, got array"),
    "text": (add, "{}", 'they should be an object, got string "{}"'),
}


@pytest.mark.parametrize(("fn", "sent", "expected"), COMPLAINTS.values(), ids=COMPLAINTS)
def test_complaints_name_argument_expectation_and_what_came_d40(fn: Any, sent: Any, expected: str) -> None:
    with pytest.raises(ArgumentsError) as caught:
        received(make(fn, name="add"), sent)
    assert str(caught.value) == START + expected


def test_complaints_never_mention_pydantic_and_are_not_endless() -> None:
    with pytest.raises(ArgumentsError) as caught:
        received(make(nested), {"items": [{}] * 50})
    text = str(caught.value)
    assert "pydantic" not in text
    assert text.endswith("and 40 more")


def test_a_million_errors_are_counted_and_not_listed() -> None:
    with pytest.raises(ArgumentsError, match="they are wrong in 5000 places"):
        received(takes(list[int]), {"x": ["a"] * 5000})


@dataclasses.dataclass
class Shelf:
    """Arrays below an object."""

    rows: list[list[int]]


@pytest.mark.parametrize("kind", [list[int], tuple[int, ...], set[int], frozenset[int]])
def test_large_arrays_are_given_up_at_their_first_wrong_item(kind: Any) -> None:
    """A million errors took 430 MB and 0.4 s, where the items themselves take 30 MB."""
    with pytest.raises(ArgumentsError) as caught:
        received(takes(kind), {"x": ["a"] * 1_000_000})
    assert '"x[0]" should be integer, got string "a"' in str(caught.value)
    assert "more" not in str(caught.value)


def test_large_arguments_are_read_as_small_ones_are() -> None:
    rows = [[number] for number in range(20_000)]
    assert received(takes(Shelf), {"x": {"rows": rows}}) == Shelf(rows)
    assert received(takes(list[str] | list[int]), {"x": ["1"] * 50_000}) == ["1"] * 50_000
    assert received(takes(list[int]), {"x": json.dumps([1] * 50_000)}) == [1] * 50_000
    with pytest.raises(ArgumentsError, match=r'"x\.rows\[1\]\[0\]" should be integer, got string "a"'):
        received(takes(Shelf), {"x": {"rows": [[1], ["a"] * 50_000]}})


@pytest.mark.parametrize("sent", [b'{"x":NaN}', b'{"x":-Infinity}', b'{"x":1e999}', b'{"x":"nan"}'])
def test_numbers_are_finite_r506(sent: bytes) -> None:
    with pytest.raises(ArgumentsError, match='"x" should be'):
        takes(float).bind(sent, None)


def test_a_validator_of_the_author_speaks_for_itself() -> None:
    from pydantic import AfterValidator

    def even(value: int) -> int:
        if value % 2:
            raise ValueError("odd numbers are sold out")
        return value

    with pytest.raises(ArgumentsError, match='"x" is not accepted: odd numbers are sold out, got integer 3'):
        received(takes(Annotated[int, AfterValidator(even)]), {"x": 3})


HOSTILE = {
    "empty": b"",
    "not JSON": b"{a:1}",
    "unfinished": b'{"a":',
    "invalid UTF-8": b'{"a":"\xff"}',
    "half a surrogate pair": b'{"a":"\\ud800"}',
    "deep arrays": b'{"a":' + b"[" * 100_000,
    "deep closed arrays": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "huge integer": b'{"a":' + b"9" * 5000 + b',"b":1}',
    "huge exponent": b'{"a":1e999,"b":1}',
    "NaN": b'{"a":NaN,"b":1}',
    "huge name": b'{"' + b"n" * 100_000 + b'":1}',
    "many names": b"{" + b",".join(b'"n%d":1' % n for n in range(2000)) + b"}",
    "control character": b'{"a":"\x00"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "null byte": b"\x00",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_hostile_input_is_an_arguments_error_and_a_short_one(raw: bytes) -> None:
    for fn in (add, union, nested):
        with pytest.raises(ArgumentsError) as caught:
            make(fn).bind(raw, None)
        assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("levels", [205, 300, 900])
def test_valid_arguments_that_are_nested_too_deeply_are_not_called_invalid_json(levels: int) -> None:
    raw = b'{"x":' + b"[" * levels + b"1" + b"]" * levels + b"}"
    explicit = make(lambda **others: others, name="t", input_schema={"type": "object"})
    for tool in (takes(Any), explicit):
        with pytest.raises(ArgumentsError, match=r": they are nested too deeply$"):
            tool.bind(raw, None)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))))
def test_whatever_comes_is_bound_or_refused(raw: bytes) -> None:
    try:
        bound = NESTED.bind(raw, None)
    except ArgumentsError:
        return
    assert set(bound) == {"items", "mode", "limit"}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["items", "mode", "limit", "mod", ""]), JSON, max_size=4))
def test_every_complaint_can_be_written(sent: Any) -> None:
    try:
        NESTED.bind(json.dumps(sent).encode(), None)
    except ArgumentsError as error:
        said = str(error)
    else:
        said = START
    assert said.startswith("Invalid arguments for tool ")


NESTED = make(nested)

REPAIRS = {
    "list": (list[int], "[1, 2]", [1, 2]),
    "dict": (dict[str, int], ' {"a": 1}', {"a": 1}),
    "model": (Point, '{"x": 1}', Point(x=1)),
    "dataclass": (Box, '{"name": "a"}', Box("a")),
    "optional list": (list[int] | None, "[1]", [1]),
    "text stays text": (str, "[1]", "[1]"),
    "text or list stays text": (str | list[int], "[1]", "[1]"),
}


@pytest.mark.parametrize(("annotation", "sent", "expected"), REPAIRS.values(), ids=REPAIRS)
def test_json_in_a_string_is_read(annotation: Any, sent: str, expected: Any) -> None:
    assert received(takes(annotation), {"x": sent}) == expected


def test_a_repair_that_does_not_help_reports_what_is_wrong_in_it() -> None:
    with pytest.raises(ArgumentsError, match=r'"x\[0\]" should be integer, got string "a"'):
        received(takes(list[int]), {"x": '["a"]'})
    with pytest.raises(ArgumentsError, match='"x" should be array of integer, got string'):
        received(takes(list[int]), {"x": "[1"})


def test_a_type_that_no_json_can_become_names_the_parameter() -> None:
    class Weird:
        pass

    def fn(good: int, bad: Weird) -> None: ...

    with pytest.raises(TypeError, match=r'fn\(\), parameter "bad": no JSON can be read as its type'):
        make(fn)


def greet(name: str, polite: bool = False) -> str:
    return f"Dear {name}" if polite else name


def test_additional_properties_are_left_out_where_the_tool_says_so() -> None:
    tool = make(greet, additional_properties=True)
    assert tool.definition.input_schema["additionalProperties"] is True
    assert make(greet).definition.input_schema["additionalProperties"] is False
    assert received(tool, {"name": "Ada", "_host": {"id": 1}, "politely": True}) == "Ada"
    assert received(tool, {"name": "Ada", "big": "x" * 200_000}) == "Ada"
    with pytest.raises(ArgumentsError) as caught:
        received(tool, {"nam": "Ada", "polite": "a"})
    assert str(caught.value).endswith(
        '"name" is missing (expected string); "polite" should be boolean, got string "a"'
    )


def test_additional_properties_are_the_schemas_where_that_is_written_by_hand() -> None:
    with pytest.raises(ValueError, match="input_schema says itself"):
        make(greet, input_schema={"type": "object"}, additional_properties=True)
