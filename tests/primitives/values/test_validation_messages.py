"""Validation messages and repairs: what a model is told, and that it can do what it is told."""

from __future__ import annotations

import json
import uuid
from datetime import date
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Annotated, Any, Literal

import attrs
import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    Json,
    PostgresDsn,
    StrictBool,
    StrictInt,
    TypeAdapter,
    model_validator,
)

from enfilade.primitives.errors import ArgumentsError
from enfilade.primitives.prompt import prompt_from_function
from enfilade.primitives.schema import references
from enfilade.primitives.values.repairs import repaired
from support.servers.tools_in_process import CONTEXT, Context, make, received


class Kind(Enum):
    CAT = "cat"
    DOG = "dog"


class Cat(BaseModel):
    kind: Literal["cat"]
    meow: str


class Dog(BaseModel):
    kind: Literal["dog"]
    bark: int
    friend: Cat | Dog | None = None


class Silent(BaseModel):
    kind: Literal[Kind.CAT]


class Loud(BaseModel):
    kind: Literal[Kind.DOG]
    volume: int


class Picture(BaseModel):
    type: Literal["picture"]
    picture: str
    width: int


class Note(BaseModel):
    type: Literal["note"]
    note: str


class Address(BaseModel):
    city: str
    lines: list[str] = []
    floor: int | None = None


class Contact(BaseModel):
    address: Address


def refuse(value: int) -> int:
    raise AssertionError  # as a bare `assert` does


class Even(BaseModel):
    n: int

    @model_validator(mode="after")
    def check(self) -> Even:
        raise ValueError


@attrs.define
class Crate:
    is_open: Any = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    _size: Any = attrs.field(default=1, validator=attrs.validators.ge(1))
    label: Any = attrs.field(default="", validator=attrs.validators.max_len(3))
    kind: Any = attrs.field(default="a", validator=attrs.validators.in_(["a", "b"]))
    code: Any = attrs.field(default="a", validator=attrs.validators.matches_re("a+"))
    any: Any = attrs.field(default=1, validator=attrs.validators.instance_of((int, str)))
    weight: Any = attrs.field(default=0)

    @weight.validator
    def _light(self, attribute: Any, value: Any) -> None:
        if value:
            raise ValueError("{too} heavy")


class Point(BaseModel):
    x: int


class Circle(BaseModel):
    radius: int


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
Sound = Annotated[Silent | Loud, Field(discriminator="kind")]
Card = Annotated[Picture | Note, Field(discriminator="type")]


def takes(annotation: Any) -> Any:
    def fn(x: Any) -> Any:
        return x

    fn.__annotations__["x"] = annotation
    return make(fn)


def complaint(annotation: Any, sent: Any) -> str:
    """Return what a tool with one parameter says of a value for it."""
    with pytest.raises(ArgumentsError) as caught:
        received(takes(annotation), {"x": sent})
    return str(caught.value).removeprefix('Invalid arguments for tool "fn": ')


KEYS = {
    "integer": (dict[int, str], {"abc": "a"}, 'the key "abc" of "x" should be integer'),
    "uuid": (dict[uuid.UUID, int], {"abc": 1}, 'the key "abc" of "x" should be string (uuid)'),
    "date": (dict[date, int], {"abc": 1}, 'the key "abc" of "x" should be string (date)'),
    "literal": (dict[Literal["a", "b"], int], {"c": 1}, 'the key "c" of "x" should be "a" or "b"'),
    "enum": (dict[Kind, int], {"cow": 1}, 'the key "cow" of "x" should be "cat" or "dog"'),
    "union": (dict[int | uuid.UUID, int], {"abc": 1}, 'the key "abc" of "x" should be integer or string (uuid)'),
    "limit": (
        dict[Annotated[str, Field(max_length=2)], int],
        {"abc": 1},
        'the key "abc" of "x" should have at most 2 characters',
    ),
    "deep": (list[dict[int, str]], [{"abc": "a"}], 'the key "abc" of "x[0]" should be integer'),
    "value": (dict[int, str], {"1": 2}, '"x.1" should be string, got integer 2'),
    "a key of that name": (dict[str, int], {"[key]": "a"}, '"x.[key]" should be integer, got string "a"'),
    "both": (
        dict[int, int],
        {"abc": "a"},
        'the key "abc" of "x" should be integer; "x.abc" should be integer, got string "a"',
    ),
}


@pytest.mark.parametrize(("annotation", "sent", "expected"), KEYS.values(), ids=KEYS)
def test_a_wrong_key_is_called_a_key(annotation: Any, sent: Any, expected: str) -> None:
    assert complaint(annotation, sent) == expected


class Label(BaseModel):
    model_config = ConfigDict(validate_default=True)
    size: int = "large"  # type: ignore[assignment]


class Parcel(BaseModel):
    label: Label | None = None
    weight: int = 1

    @model_validator(mode="after")
    def _weighs(self) -> Parcel:
        if self.weight > 9:
            TypeAdapter(int).validate_python("heavy")
        return self


OF_THE_AUTHOR = {
    "default": (Label, {}, '"x.size" has a default that is not accepted (expected integer); give it a value'),
    "default of one of two": (
        Label | int,
        {},
        '"x.size" has a default that is not accepted (expected integer); give it a value',
    ),
    "default within": (
        Parcel,
        {"label": {}},
        '"x.label.size" has a default that is not accepted (expected integer); give it a value',
    ),
    "validation within a validator": (
        Parcel,
        {"weight": 10},
        '"x" is not accepted: a value within it should be integer, got object',
    ),
}


@pytest.mark.parametrize(("annotation", "sent", "expected"), OF_THE_AUTHOR.values(), ids=OF_THE_AUTHOR)
def test_what_was_not_sent_is_told_from_what_was(annotation: Any, sent: Any, expected: str) -> None:
    assert complaint(annotation, sent) == expected


class Floor(Enum):
    GROUND = 0
    FIRST = 1


def test_keys_of_another_type_than_string_are_read_from_their_json() -> None:
    assert received(takes(dict[Floor, int]), {"x": {"1": 5}}) == {Floor.FIRST: 5}
    assert received(takes(dict[Literal[1, 2], int]), {"x": {"2": 5}}) == {2: 5}
    assert received(takes(dict[Literal[1, "1"], int]), {"x": {"1": 5}}) == {"1": 5}
    assert received(takes(Floor | str), {"x": "1"}) == "1"
    assert complaint(dict[Floor, int], {"7": 5}) == 'the key "7" of "x" should be "0" or "1"'


UNIONS = {
    "the member that is meant": (
        Cat | Dog,
        {"kind": "cat", "meow": 1},
        '"x.meow" should be string, got integer 1',
    ),
    "what it lacks": (Cat | Dog, {"kind": "dog"}, '"x.bark" is missing (expected integer)'),
    "no such kind": (Cat | Dog, {"kind": "cow"}, '"x.kind" should be "cat" or "dog", got string "cow"'),
    "no kind": (Cat | Dog, {"bark": "a"}, '"x.kind" is missing (expected "cat" or "dog")'),
    "tag": (Pet, {"kind": "cow"}, '"x.kind" should be "cat" or "dog", got string "cow"'),
    "no tag": (Pet, {"bark": 1}, '"x.kind" is missing (expected "cat" or "dog")'),
    "tag of an enum": (Sound, {"kind": "cow"}, '"x.kind" should be "cat" or "dog", got string "cow"'),
    "plain union of an enum's": (
        Silent | Loud,
        {"kind": "cow"},
        '"x.kind" should be "cat" or "dog", got string "cow"',
    ),
    "a tag that is a member as well": (
        Card,
        {"type": "picture", "picture": "a", "width": "b"},
        '"x.width" should be integer, got string "b"',
    ),
    "no tag at all": (
        Point | Circle,
        {"size": 1},
        '"x" fits none of its alternatives: either "x.x" is missing (expected integer), '
        'or "x.radius" is missing (expected integer)',
    ),
    "another type": (Cat | Dog | int, "a", '"x" should be object or integer, got string "a"'),
    "an item of a list": (int | list[int], ["a"], '"x[0]" should be integer, got string "a"'),
    "a union within": (
        Cat | Dog,
        {"kind": "dog", "bark": 1, "friend": {"kind": "cat", "meow": 1}},
        '"x.friend.meow" should be string, got integer 1',
    ),
}


@pytest.mark.parametrize(("annotation", "sent", "expected"), UNIONS.values(), ids=UNIONS)
def test_a_union_is_explained_by_the_member_that_was_meant(annotation: Any, sent: Any, expected: str) -> None:
    assert complaint(annotation, sent) == expected


@pytest.mark.parametrize(
    "case", ["the member that is meant", "what it lacks", "no such kind", "no kind", "no tag at all"]
)
def test_a_handwritten_union_is_explained_alike(case: str) -> None:
    annotation, sent, expected = UNIONS[case]
    published = takes(annotation).definition.input_schema

    def fn(x: Any) -> None: ...

    with pytest.raises(ArgumentsError) as caught:
        received(make(fn, input_schema=published), {"x": sent})
    assert str(caught.value) == f'Invalid arguments for tool "fn": {expected}'


class Leaf(BaseModel):
    value: int


class Left(BaseModel):
    left: Left | Right | Leaf


class Right(BaseModel):
    right: Left | Right | Leaf


def test_what_is_said_of_many_alternatives_is_short() -> None:
    wide = {"left": {}, "right": {}, "value": "x"}
    sent: Any = wide
    for _ in range(6):
        sent = {"left": sent, "right": sent}
    assert len(complaint(Left | Right | Leaf, sent)) < 2000


def test_many_repairs_in_one_object_cost_no_copy_each() -> None:
    copies: list[int] = []

    class Counted(dict[str, Any]):
        def copy(self) -> Any:
            copies.append(len(self))
            return Counted(self)

    values = Counted({"x": Counted({str(number): "[1]" for number in range(500)})})
    schema = takes(dict[str, list[int]]).definition.input_schema
    found = repaired(values, [("x", str(number)) for number in range(500)], schema)
    assert found["x"] == {str(number): [1] for number in range(500)}
    assert copies == [1]


LIMITS: dict[str, tuple[dict[str, Any], Any, str]] = {
    "minimum": ({"ge": 2}, 1, "should be at least 2, got integer 1"),
    "maximum": ({"le": 2}, 3, "should be at most 2, got integer 3"),
    "exclusiveMinimum": ({"gt": 2}, 2, "should be more than 2, got integer 2"),
    "exclusiveMaximum": ({"lt": 2}, 2, "should be less than 2, got integer 2"),
    "multipleOf": ({"multiple_of": 2}, 3, "should be a multiple of 2, got integer 3"),
    "minLength": ({"min_length": 2}, "a", 'should have at least 2 characters, got string "a"'),
    "maxLength": ({"max_length": 1}, "ab", 'should have at most 1 character, got string "ab"'),
    "pattern": ({"pattern": "^a$"}, "b", 'should match ^a$, got string "b"'),
    "minItems": ({"min_length": 2}, [1], "should have at least 2 items, got array"),
    "maxItems": ({"max_length": 1}, [1, 2], "should have at most 1 item, got array"),
    "minProperties": ({"min_length": 2}, {"a": 1}, "should have at least 2 members, got object"),
    "maxProperties": ({"max_length": 1}, {"a": 1, "b": 1}, "should have at most 1 member, got object"),
}


@pytest.mark.parametrize("keyword", LIMITS)
def test_types_and_handwritten_schemas_speak_with_one_voice(keyword: str) -> None:
    constraints, sent, expected = LIMITS[keyword]
    kind: Any = {int: int, str: str, list: list[int], dict: dict[str, int]}[type(sent)]
    assert complaint(Annotated[kind, Field(**constraints)], sent) == f'"x" {expected}'

    def fn(x: Any) -> None: ...

    schema = {
        "type": "object",
        "properties": {"x": {keyword: next(iter(constraints.values()))}},
        "required": ["x"],
    }
    with pytest.raises(ArgumentsError) as caught:
        received(make(fn, input_schema=schema), {"x": sent})
    assert str(caught.value) == f'Invalid arguments for tool "fn": "x" {expected}'


PHRASES = {
    "missing deep": (Contact, {"address": {}}, '"x.address.city" is missing (expected string)'),
    "missing behind null": (Contact | None, {"address": {}}, '"x.address.city" is missing (expected string)'),
    "digits": (
        Annotated[Decimal, Field(max_digits=2)],
        "1.234",
        '"x" should have no more than 2 digits in total, got string "1.234"',
    ),
    "bytes": (bytes, "a!", '"x" should be valid base64'),
    "a decimal": (Decimal, "abc", '"x" should be a valid decimal, got string "abc"'),
    "a decimal or null": (Decimal | None, "abc", '"x" should be a valid decimal, got string "abc"'),
    "decimals": (list[Decimal], ["abc"], '"x[0]" should be a valid decimal, got string "abc"'),
    "a fraction": (Fraction, "abc", '"x" is not a valid fraction, got string "abc"'),
    "a complex number": (complex, "abc", '"x" should be a valid complex string'),
    "a URL of a kind": (PostgresDsn, "abc", '"x" should be a valid URL, relative URL without a base, got string'),
    "a member of a union": (
        int | Annotated[str, Field(min_length=3)],
        "a",
        '"x" should have at least 3 characters, got string "a"',
    ),
    "strict": (
        StrictInt,
        1.0,
        '"x" should be an integer, written without a point or an exponent, got integer 1.0',
    ),
    "one of two strict types": (
        StrictInt | StrictBool,
        1.0,
        '"x" should be integer or boolean, and an integer has no point or exponent, got integer 1.0',
    ),
    "a list of one of two": (
        list[StrictInt | StrictBool],
        True,
        '"x" should be array of integer or boolean, got boolean true',
    ),
    "an exponent": (
        int,
        1e20,
        '"x" should be an integer, written without a point or an exponent, got integer 1e+20',
    ),
    "digits of an integer": (int, "1" * 5000, '"x" should be an integer with fewer digits, got string "1'),
    "a fraction of an integer": (int, 1.5, '"x" should be integer, got number 1.5'),
    "a date with a time": (date, "2026-07-28T10:00:00", '"x" should be a date without a time, got string'),
    "JSON": (Json, "{", '"x" should be valid JSON, got string "{"'),
    "other words": (ByteSize, "abc", '"x" is not accepted: could not parse value and unit'),
    "without words": (Annotated[int, AfterValidator(refuse)], 1, '"x" is not accepted, got integer 1'),
    "an object without words": (Even, {"n": 1}, '"x" is not accepted, got object'),
    "a limit of a number": (Annotated[float, Field(gt=0)], -1, '"x" should be more than 0, got integer -1'),
    "a step of a number": (
        Annotated[float, Field(multiple_of=2)],
        1,
        '"x" should be a multiple of 2, got integer 1',
    ),
    "a limit with a fraction": (Annotated[float, Field(gt=0.5)], 0, '"x" should be more than 0.5, got integer 0'),
    "a key with a quote": (dict[str, int], {'a"b': "x"}, r'"x.a\"b" should be integer, got string "x"'),
    "a key with a line break": (dict[str, int], {"a\nb": "x"}, r'"x.a\nb" should be integer, got string "x"'),
    "a validator of attrs": (
        Crate,
        {"is_open": 3},
        '"x.is_open" is not accepted: must be boolean, got integer 3',
    ),
    "its other name": (Crate, {"size": 0}, '"x.size" is not accepted: must be >= 1, got integer 0'),
    "its length": (
        Crate,
        {"label": "abcd"},
        '"x.label" is not accepted: its length must be <= 3, got string "abcd"',
    ),
    "its choices": (Crate, {"kind": "c"}, '"x.kind" is not accepted: must be in ["a", "b"], got string "c"'),
    "its pattern": (Crate, {"code": "b"}, '"x.code" is not accepted: must match regex "a+", got string "b"'),
    "several of its classes": (
        Crate,
        {"any": []},
        '"x.any" is not accepted: must be (integer, string), got array',
    ),
    "its author's own": (Crate, {"weight": 1}, '"x" is not accepted: {too} heavy, got object'),
}


@pytest.mark.parametrize(("annotation", "sent", "expected"), PHRASES.values(), ids=PHRASES)
def test_sentences_follow_the_name_of_the_place(annotation: Any, sent: Any, expected: str) -> None:
    assert complaint(annotation, sent).startswith(expected)


def test_an_unknown_name_is_one_line() -> None:
    with pytest.raises(ArgumentsError) as caught:
        received(takes(int), {"x": 1, 'a\n"b': 1})
    assert r'"a\n\"b" is not an argument of this tool (it takes: x)' in str(caught.value)


def listed(xs: list[int], n: int = 0, where: Contact | None = None, when: int | None = None) -> Any:
    return xs, n, where, when


def test_what_was_repaired_is_not_blamed() -> None:
    with pytest.raises(ArgumentsError) as caught:
        received(make(listed), {"xs": "[1]", "n": "zz"})
    assert str(caught.value) == 'Invalid arguments for tool "listed": "n" should be integer, got string "zz"'


def test_json_in_strings_is_read_at_every_depth() -> None:
    tool = make(listed)
    where = {"address": json.dumps({"city": "Bern", "lines": json.dumps(["a", "b"])})}
    assert received(tool, {"xs": [], "where": where})[2].address.lines == ["a", "b"]
    assert received(tool, {"xs": [], "where": json.dumps(where)})[2].address.city == "Bern"
    assert received(takes(list[list[int]]), {"x": [[1], "[2, 3]"]}) == [[1], [2, 3]]
    with pytest.raises(ArgumentsError, match=r'"where\.address\.city" is missing \(expected string\)$'):
        received(tool, {"xs": [], "where": {"address": "{}"}})


def test_text_stays_text_where_no_object_or_array_is_wanted() -> None:
    assert complaint(Annotated[str, Field(max_length=2)], "[1]") == (
        '"x" should have at most 2 characters, got string "[1]"'
    )
    assert complaint(list[int], '{"a": 1}') == '"x" should be array of integer, got string "{\\"a\\": 1}"'


@pytest.mark.parametrize("annotation", [int | None, list[int] | None, Contact | None, Kind | None])
def test_null_in_a_string_is_null_where_it_may_be(annotation: Any) -> None:
    assert received(takes(annotation), {"x": "null"}) is None


def test_null_in_a_string_is_read_at_every_depth_and_nowhere_else() -> None:
    assert received(takes(Address), {"x": {"city": "null", "floor": "null"}}) == Address(city="null")
    assert received(takes(str | None), {"x": "null"}) == "null"
    assert complaint(int, "null") == '"x" should be integer, got string "null"'


def test_a_handwritten_schema_repairs_alike() -> None:
    def fn(x: Any) -> Any:
        return x

    point = {"type": "object", "properties": {"at": {"type": ["object", "null"]}}, "additionalProperties": False}
    schema = {"type": "object", "properties": {"x": point}, "required": ["x"]}
    tool = make(fn, input_schema=schema)
    assert received(tool, {"x": '{"at": "{\\"a\\": 1}"}'}) == {"at": {"a": 1}}
    assert received(tool, {"x": {"at": "null"}}) == {"at": None}


PROMPTS = {
    "what can be read is not blamed": ({"numbers": "[1]", "n": "zz"}, '"n" should be integer, got string "zz"'),
    "the fault within": ({"m": '{"a": "x"}'}, '"m.a" should be integer, got string "x"'),
    "no JSON": ({"m": "oops"}, '"m" should be object as JSON, got string "oops"'),
    "a string of another type": (
        {"numbers": "5"},
        '"numbers" should be array of integer as JSON, got string "5"',
    ),
    "unknown": ({"number": "1"}, '"number" is not an argument of this prompt (did you mean "numbers"?)'),
}


@pytest.mark.parametrize(("sent", "expected"), PROMPTS.values(), ids=PROMPTS)
def test_prompts_are_told_of_strings(sent: dict[str, str], expected: str) -> None:
    def fill(numbers: list[int] | None = None, n: int = 0, m: dict[str, int] | None = None) -> str:
        return "filled"

    prompt = prompt_from_function(fill, context_type=Context)
    with pytest.raises(ArgumentsError) as caught:
        prompt.bind(sent, CONTEXT)
    said = str(caught.value).removeprefix('Invalid arguments for prompt "fill": ')
    assert (
        said.replace("array of integer or null", "array of integer").replace("object or null", "object")
        == expected
    )


def test_no_complaint_shows_how_python_writes_values() -> None:
    for annotation, sent in [
        (Sound, {"kind": "cow"}),
        (Silent | Loud, {"kind": True}),
        (dict[Kind, int], {"a": 1}),
        (Literal[Kind.CAT], "cow"),
        (dict[Literal["a"], Sound], {"b": {"kind": "cow"}}),
    ]:
        said = complaint(annotation, sent)
        assert "<" not in said, said
        assert "Kind" not in said, said
        assert "'" not in said, said


class Node(BaseModel):
    children: list[Node] = []
    value: int = 0


def test_the_work_for_an_error_grows_no_faster_than_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any client may send a value with many faults, each of them deep."""
    steps = 0
    one_step = references._behind_step

    def counted(*arguments: Any) -> list[Any]:
        nonlocal steps
        steps += 1
        return one_step(*arguments)

    monkeypatch.setattr(references, "_behind_step", counted)

    def steps_for(depth: int) -> int:
        nonlocal steps
        sent: dict[str, Any] = {"value": "x"}
        for _ in range(depth):
            sent = {"children": [sent], "value": "x"}
        steps = 0
        with pytest.raises(ArgumentsError, match=f"and {depth - 9} more$"):
            received(make(grow), {"tree": sent})
        return steps

    assert 0 < steps_for(80) < 2.5 * steps_for(40)


def grow(tree: Node) -> None: ...
