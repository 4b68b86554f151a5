"""Values in and out: bytes, Enums, iterables, classes and values of other packages, results that are checked."""

import base64
import collections
import datetime
import enum
import math
import pathlib
import re
import types
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pytest
from pydantic import (
    AfterValidator,
    Base64Bytes,
    Base64Str,
    Base64UrlBytes,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    SerializeAsAny,
    WithJsonSchema,
    computed_field,
    field_serializer,
    model_serializer,
)

from enfilade.primitives.errors import ArgumentsError, ReturnedValueError
from enfilade.primitives.values import structured_output
from enfilade.primitives.values.results import ToolResult
from support.servers.tools_in_process import answered, data_of, make, received, result_of, text_of

RAW = b"\xff\xfe\xfb"
BASE64 = "//77"
URL_SAFE = "__77"


def tool_of(annotation: Any) -> Any:
    """Make a tool that returns nothing and keeps what it got."""

    def take(x: Any) -> Any:
        return [x]

    take.__annotations__ = {"x": annotation}
    return make(take)


def got(annotation: Any, sent: Any) -> Any:
    """Return what a function gets for a parameter of a type."""
    return received(tool_of(annotation), {"x": sent})[0]


class Blob(BaseModel):
    data: bytes
    more: dict[str, bytes] = {}


class Hexadecimal(BaseModel):
    model_config = ConfigDict(val_json_bytes="hex", ser_json_bytes="hex")
    data: bytes
    inner: Blob | None = None


class Keywords(BaseModel):
    type: Annotated[int, Field(ge=0)]
    schema_: Annotated[bytes, Field(alias="schema")] = b""


# -- bytes -----------------------------------------------------------------------------------------------------


@dataclass
class Box:
    data: bytes


BYTES_IN = {
    "bare": (bytes, BASE64, RAW),
    "the other alphabet": (bytes, URL_SAFE, RAW),
    "without padding": (bytes, "aGk", b"hi"),
    "list": (list[bytes], [BASE64], [RAW]),
    "keys": (dict[bytes, int], {BASE64: 1}, {RAW: 1}),
    "model": (Blob, {"data": BASE64, "more": {"a": URL_SAFE}}, Blob(data=RAW, more={"a": RAW})),
    "list of models": (list[Blob], [{"data": "aGk="}], [Blob(data=b"hi")]),
    "dataclass": (Box, {"data": BASE64}, Box(RAW)),
    "model with its own option": (Hexadecimal, {"data": "fffe"}, Hexadecimal(data=b"\xff\xfe")),
    "model in one with its own option": (
        Hexadecimal,
        {"data": "ff", "inner": {"data": "aGk="}},
        Hexadecimal(data=b"\xff", inner=Blob(data=b"hi")),
    ),
    "fields with names of keywords": (
        Keywords,
        {"type": 1, "schema": BASE64},
        Keywords.model_validate({"type": 1, "schema": RAW}),
    ),
    "type that decodes itself": (Base64Bytes, "aGk=", b"hi"),
    "type that decodes itself, url-safe": (Base64UrlBytes, URL_SAFE, RAW),
    "text that decodes itself": (Base64Str, "aGk=", "hi"),
}


@pytest.mark.parametrize(("annotation", "sent", "value"), BYTES_IN.values(), ids=BYTES_IN)
def test_bytes_arrive_as_base64_everywhere(annotation: Any, sent: Any, value: Any) -> None:
    assert got(annotation, sent) == value


@pytest.mark.parametrize("sent", ["!!", "a", "é", "aGk=aGk="])
def test_what_is_no_base64_is_an_arguments_error(sent: str) -> None:
    with pytest.raises(ArgumentsError, match=r'"x.data" should be valid base64'):
        got(Blob, {"data": sent})


class Anything(BaseModel):
    x: Any
    y: Any = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Rooted(RootModel[list[bytes]]):
    pass


class FrozenBlob(BaseModel):
    model_config = ConfigDict(frozen=True)
    data: bytes


class Mark(enum.Enum):
    RAW = RAW


class Marked(BaseModel):
    mark: Mark


class Masked(BaseModel):
    token: Annotated[bytes, PlainSerializer(lambda value: "***", return_type=str)]


@dataclass
class AroundAny:
    x: Any


@attrs.define
class AttrsAny:
    x: Any


class StructAny(msgspec.Struct):
    x: Any


HI = {"data": "aGk=", "more": {}}

BYTES_OUT = {
    "bare": (bytes, RAW, {"result": BASE64}),
    "without annotation": (None, {"a-b": RAW, "c_d": "x-_"}, {"a-b": BASE64, "c_d": "x-_"}),
    "keys without annotation": (None, {RAW: [RAW]}, {BASE64: [BASE64]}),
    "keys": (dict[bytes, int], {RAW: 1}, {BASE64: 1}),
    "any": (dict[str, Any], {"a_": [RAW, "x-_", 1]}, {"a_": [BASE64, "x-_", 1]}),
    "model": (Blob, Blob(data=RAW, more={"a": b"hi"}), {"data": BASE64, "more": {"a": "aGk="}}),
    "model without annotation": (None, Blob(data=RAW), {"data": BASE64, "more": {}}),
    "text in a model without annotation": (None, Blob(data=b"hi"), {"data": "aGk=", "more": {}}),
    "models without annotation": (None, {"a": Blob(data=b"hi")}, {"a": {"data": "aGk=", "more": {}}}),
    "dataclass": (Box, Box(RAW), {"data": BASE64}),
    "model with its own option": (Hexadecimal, Hexadecimal(data=RAW), {"data": "fffefb", "inner": None}),
    "type that encodes itself": (Base64Bytes, b"hi there", {"result": "aGkgdGhlcmU="}),
    "type that encodes itself, in a list": (list[Base64UrlBytes], [RAW], {"result": [URL_SAFE]}),
    "text that encodes itself": (Base64Str, "hi", {"result": "aGk="}),
    "models in a list in a dict": (None, {"m": [Blob(data=b"hi"), b"hi"]}, {"m": [HI, "aGk="]}),
    "models in containers of any type": (dict[str, Any], {"m": [Blob(data=b"hi"), b"hi"]}, {"m": [HI, "aGk="]}),
    "bytes that are no text": (dict[str, Any], {"m": Blob(data=RAW)}, {"m": {"data": BASE64, "more": {}}}),
    "models among any": (list[Any], [Blob(data=b"hi"), "x-_", 1], {"result": [HI, "x-_", 1]}),
    "models among objects": (list[object], [(Blob(data=b"hi"),)], {"result": [[HI]]}),
    "models in a bare list": (list, [{"k": Blob(data=b"hi")}], {"result": [{"k": HI}]}),
    "models as their base": (list[SerializeAsAny[BaseModel]], [Blob(data=b"hi")], {"result": [HI]}),
    "a field of any type": (Anything, Anything(x=Blob(data=b"hi"), y=RAW), {"x": HI, "y": BASE64}),
    "a field of any type, without annotation": (None, Anything(x=[RAW]), {"x": [BASE64], "y": None}),
    "a field of any type in any": (
        list[Any],
        [Anything(x=Box(RAW))],
        {"result": [{"x": {"data": BASE64}, "y": None}]},
    ),
    "more than a model names": (Open, Open(x=Blob(data=b"hi"), y=RAW), {"x": HI, "y": BASE64}),
    "more than a model names, in any": (dict[str, Any], {"k": Open(x=RAW)}, {"k": {"x": BASE64}}),
    "a root model": (dict[str, Any], {"k": Rooted([RAW])}, {"k": [BASE64]}),
    "a model in a dataclass": (None, AroundAny(Blob(data=b"hi")), {"x": HI}),
    "a model in a dataclass in any": (dict[str, Any], {"k": AroundAny(Blob(data=b"hi"))}, {"k": {"x": HI}}),
    "a model in attrs": (None, {"k": AttrsAny(Blob(data=b"hi"))}, {"k": {"x": HI}}),
    "a model in a Struct in any": (dict[str, Any], {"k": StructAny(Blob(data=b"hi"))}, {"k": {"x": HI}}),
    "a set of models": (None, {"k": {FrozenBlob(data=RAW)}}, {"k": [{"data": BASE64}]}),
    "an Enum in a model in any": (dict[str, Any], {"k": Marked(mark=Mark.RAW)}, {"k": {"mark": BASE64}}),
    "a serializer in any": (dict[str, Any], {"k": Masked(token=RAW)}, {"k": {"token": "***"}}),
    "memoryview": (None, {"a": memoryview(RAW)}, {"a": BASE64}),
}


@pytest.mark.parametrize(("annotation", "value", "sent"), BYTES_OUT.values(), ids=BYTES_OUT)
def test_bytes_are_sent_as_base64_everywhere(annotation: Any, value: Any, sent: Any) -> None:
    result = result_of(value) if annotation is None else result_of(value, annotation)
    assert data_of(result) == sent


@pytest.mark.parametrize("annotation", [bytes, Blob])
def test_bytes_are_published_as_base64(annotation: Any) -> None:
    def give(x: annotation) -> annotation:
        return x

    tool = make(give)
    seen = str(tool.definition.input_schema) + str(tool.definition.output_schema)
    assert seen.count("'contentEncoding': 'base64'") >= 2
    assert "binary" not in seen
    assert "base64url" not in seen


def test_bytes_go_round() -> None:
    def echo(x: Blob) -> Blob:
        return x

    data = base64.b64encode(bytes(range(256))).decode()
    assert data_of(answered(make(echo), {"x": {"data": data}})) == {"data": data, "more": {}}


@pytest.mark.parametrize("value", [pathlib.Path("a-b"), RAW, Box(b"\xfb"), datetime.date(2024, 1, 1)], ids=repr)
def test_what_holds_no_value_of_any_type_is_written_once(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    def again(*_: Any) -> None:
        raise AssertionError("written again")

    monkeypatch.setattr(structured_output.TypedWriter, "_serialize_any", property(again))
    kind = pathlib.Path if isinstance(value, pathlib.Path) else type(value)
    result_of(value, kind)
    with pytest.raises(AssertionError, match="written again"):
        result_of({"a-b": value, "day": datetime.date(2024, 1, 1)}, dict[str, Any])


# -- Enums, iterables, fields ----------------------------------------------------------------------------------


class Kind(enum.Enum):
    CAT = "cat"
    DOG = "dog"


class Cat(BaseModel):
    kind: Literal[Kind.CAT]


class Dog(BaseModel):
    kind: Literal[Kind.DOG]


class Corner(enum.Enum):
    LOW = (0, 0)
    HIGH = (9, 9)


class Day(enum.Enum):
    FIRST = datetime.date(2024, 1, 1)


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
ENUMS = {
    "literal": (Literal[Kind.CAT, Kind.DOG], "cat", Kind.CAT),
    "literal in a list": (list[Literal[Kind.DOG]], ["dog"], [Kind.DOG]),
    "literal beside text": (Literal[Kind.CAT, "none"], "none", "none"),
    "discriminator": (Pet, {"kind": "dog"}, Dog(kind=Kind.DOG)),
    "discriminator in a dict": (dict[str, Pet], {"a": {"kind": "cat"}}, {"a": Cat(kind=Kind.CAT)}),
    "values that are tuples": (Corner, [9, 9], Corner.HIGH),
    "values that are dates": (list[Day], ["2024-01-01"], [Day.FIRST]),
}


@pytest.mark.parametrize(("annotation", "sent", "value"), ENUMS.values(), ids=ENUMS)
def test_members_of_enums_are_found_by_what_is_published(annotation: Any, sent: Any, value: Any) -> None:
    assert got(annotation, sent) == value


def test_errors_about_members_name_their_values() -> None:
    with pytest.raises(ArgumentsError, match='"x" should be "cat" or "dog", got string "cow"'):
        got(Literal[Kind.CAT, Kind.DOG], "cow")
    with pytest.raises(ArgumentsError) as caught:
        got(Pet, {"kind": "cow"})
    assert "<Kind" not in str(caught.value)


def test_members_of_enums_are_sent_by_their_values() -> None:
    assert data_of(result_of(Kind.CAT, Literal[Kind.CAT])) == {"result": "cat"}
    assert data_of(result_of([Dog(kind=Kind.DOG)], list[Pet])) == {"result": [{"kind": "dog"}]}


def test_items_of_iterables_are_validated_before_the_call() -> None:
    for annotation in (Iterable[int], Generator[int, None, None]):
        with pytest.raises(ArgumentsError, match=r'"x\[1\]" should be integer, got string "a"'):
            got(annotation, [1, "a"])
        assert list(got(annotation, [1, 2])) == [1, 2]
    twice = got(Iterable[int], [1])
    assert [list(twice), list(twice)] == [[1], [1]]


def test_items_of_a_returned_iterable_are_validated_with_their_place() -> None:
    with pytest.raises(ReturnedValueError, match=r'"result\[0\]" should be integer'):
        result_of(["a"], Iterable[int])
    assert data_of(result_of((each for each in [1, 2]), Iterable[int])) == {"result": [1, 2]}


def test_fields_that_no_caller_can_give_are_not_published() -> None:
    @dataclass
    class Order:
        items: int
        total: int = field(init=False, default=3)
        log: list[int] = field(init=False, default_factory=list)

    tool = tool_of(Order)
    assert "total" not in str(tool.definition.input_schema)
    assert received(tool, {"x": {"items": 1}})[0] == Order(1)
    assert data_of(result_of(Order(1), Order)) == {"items": 1, "total": 3, "log": []}


# -- what a serializer sends -----------------------------------------------------------------------------------


class Price(BaseModel):
    amount: Annotated[int, Field(ge=0)]

    @field_serializer("amount")
    def written(self, value: int):  # type: ignore[no-untyped-def]
        return f"{value} €"


class AsList(BaseModel):
    a: int

    @model_serializer
    def written(self):  # type: ignore[no-untyped-def]
        return [self.a]


def hexadecimal(value):  # type: ignore[no-untyped-def]
    return hex(value)


UNSAID = {
    "field": (Price, Price(amount=1), {"amount": "1 €"}),
    "model": (AsList, AsList(a=1), {"result": [1]}),
    "annotated": (Annotated[int, PlainSerializer(hexadecimal)], 5, {"result": "0x5"}),
    "in a list": (list[AsList], [AsList(a=1)], {"result": [[1]]}),
}


@pytest.mark.parametrize(("annotation", "value", "sent"), UNSAID.values(), ids=UNSAID)
def test_nothing_is_published_about_what_a_serializer_does_not_say(
    annotation: Any, value: Any, sent: Any
) -> None:
    assert data_of(result_of(value, annotation)) == sent


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int = 1


class More(Strict):
    b: int = 2


class Constants(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")
    x: float


class Limited(BaseModel):
    a: Annotated[int, Field(ge=0)]


@dataclass
class LimitedToo:
    a: Annotated[int, Field(ge=0)]


class LimitedStruct(msgspec.Struct):
    a: Annotated[int, msgspec.Meta(ge=0)]


def made(a: int) -> Limited:
    limited = Limited(a=1)
    limited.a = a
    return limited


DIFFERENT = {
    "nan as it is": (Constants, Constants(x=math.nan), 'NaN for "x"'),
    "model changed later": (Limited, made(-1), '"a" should be at least 0'),
    "field that is called type": (Keywords, Keywords.model_construct(type=-1), '"type" should be at least 0'),
    "dataclass that nobody validated": (LimitedToo, LimitedToo(-1), '"a" should be at least 0'),
    "Struct that nobody validated": (LimitedStruct, LimitedStruct(-1), '"a" should be at least 0'),
    "schema by hand": (Annotated[int, WithJsonSchema({"type": "string"})], 5, '"result" should be string'),
}


def test_a_subclass_is_written_in_place_of_a_base_that_forbids_its_fields() -> None:
    """The published schema allows anything, since a field of a subclass would break that of the base."""
    both = {"a": 1, "b": 2}
    assert msgspec.json.decode(text_of(result_of(More(), SerializeAsAny[Strict]))) == both
    assert data_of(result_of([More()], list[SerializeAsAny[Strict]])) == {"result": [both]}


@pytest.mark.parametrize(("annotation", "value", "message"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_from_what_is_published_is_not_sent(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(ReturnedValueError, match=message):
        result_of(value, annotation)


@dataclass
class Plain:
    name: str
    size: int = 0


class PlainModel(BaseModel):
    name: str
    when: datetime.date | None = None


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    a: Annotated[int, Field(ge=0)]


SAME = [Plain("a"), PlainModel(name="a"), Frozen(a=1), [Plain("a")], {"a": 1}, Kind.CAT, datetime.timedelta(1)]


@pytest.mark.parametrize("value", SAME, ids=repr)
def test_what_cannot_differ_is_not_checked(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    annotation = {list: list[Plain], dict: dict[str, int]}.get(type(value), type(value))

    def refuse(*_: Any) -> None:
        raise AssertionError("checked")

    expected = data_of(result_of(value, annotation))
    monkeypatch.setattr(structured_output, "refuse_problems", refuse)
    assert data_of(result_of(value, annotation)) == expected


# -- classes and values of other packages ----------------------------------------------------------------------


@attrs.define
class Node:
    name: str
    _hidden: int = 1
    children: list["Node"] = attrs.field(factory=list)
    made: int = attrs.field(init=False, default=7)


@attrs.define
class Positive:
    n: int = attrs.field(validator=attrs.validators.gt(0))


class Point(msgspec.Struct, rename="camel", tag=True, forbid_unknown_fields=True):
    left_side: Annotated[int, msgspec.Meta(ge=0)]
    data: bytes = b""
    note: str | msgspec.UnsetType = msgspec.UNSET
    next: "Point | None" = None


class Circle(msgspec.Struct, tag=True):
    r: int


CLASSES_IN = {
    "attrs": (Node, {"name": "a", "hidden": 2, "children": [{"name": "b"}]}, Node("a", 2, [Node("b")])),
    "attrs in a list": (list[Node] | None, [{"name": "a"}], [Node("a")]),
    "Struct": (Point, {"leftSide": 1, "data": "aGk="}, Point(1, b"hi")),
    "Struct in a Struct": (Point, {"leftSide": 1, "next": {"leftSide": 2}}, Point(1, next=Point(2))),
    "union of Structs": (Point | Circle, {"type": "Circle", "r": 1}, Circle(1)),
}


@pytest.mark.parametrize(("annotation", "sent", "value"), CLASSES_IN.values(), ids=CLASSES_IN)
def test_classes_of_attrs_and_msgspec_are_read(annotation: Any, sent: Any, value: Any) -> None:
    assert got(annotation, sent) == value


class Tree(BaseModel):
    n: int
    kids: list["Tree"] = []


@attrs.define
class Forest:
    first: Tree
    blob: Blob
    again: Blob


class Park(msgspec.Struct):
    tree: Tree
    forest: Forest | None = None


def test_models_stand_beside_such_classes_and_in_them() -> None:
    def echo(a: Forest, b: Park, c: Tree, d: list[Blob]) -> tuple[Forest, Park, Tree, list[Blob]]:
        assert isinstance(b.forest, Forest)
        return a, b, c, d

    tree, blob = {"n": 1, "kids": [{"n": 2, "kids": []}]}, {"data": BASE64, "more": {}}
    forest = {"first": tree, "blob": blob, "again": blob}
    sent = {"a": forest, "b": {"tree": tree, "forest": forest}, "c": tree, "d": [blob, blob]}
    assert data_of(answered(make(echo), sent)) == {"result": list(sent.values())}


def test_errors_inside_of_such_classes_name_the_place() -> None:
    with pytest.raises(ArgumentsError, match=r'"x.children\[0\].name" is missing'):
        got(Node, {"name": "a", "children": [{}]})
    with pytest.raises(ArgumentsError, match=r'"x.leftSide" should be'):
        got(Point, {"leftSide": -1})
    with pytest.raises(ArgumentsError, match=r'"x.other" is not'):
        got(Point, {"leftSide": 1, "other": 1})
    with pytest.raises(ArgumentsError, match=r'"x\.n" is not accepted: must be > 0, got integer 0'):
        got(Positive, {"n": 0})


CLASSES_OUT = {
    "attrs": (Node, Node("a"), {"name": "a", "hidden": 1, "children": []}),
    "attrs in a list": (list[Node], [Node("a")], {"result": [{"name": "a", "hidden": 1, "children": []}]}),
    "Struct": (Point, Point(1, b"hi"), {"type": "Point", "leftSide": 1, "data": "aGk=", "next": None}),
    "Struct without annotation": (None, {"a": Circle(1)}, {"a": {"type": "Circle", "r": 1}}),
    "attrs without annotation": (None, Positive(1), {"n": 1}),
}


@pytest.mark.parametrize(("annotation", "value", "sent"), CLASSES_OUT.values(), ids=CLASSES_OUT)
def test_classes_of_attrs_and_msgspec_are_sent(annotation: Any, value: Any, sent: Any) -> None:
    result = result_of(value) if annotation is None else result_of(value, annotation)
    assert data_of(result) == sent


def test_such_classes_are_published_as_objects() -> None:
    seen = str(tool_of(Point).definition.input_schema)
    assert "'minimum': 0" in seen
    assert "'leftSide'" in seen
    assert "made" not in str(tool_of(Node).definition.input_schema)


class Row(msgspec.Struct, array_like=True):
    a: int


class Opaque:
    pass


class Holder(BaseModel):
    inner: Any


REFUSED = {
    "Struct written as an array": (Row, "array_like"),
    "unknown class": (Opaque, "Opaque; take what JSON has"),
    "unknown class in a dict": (dict[str, Opaque], "Opaque; take what JSON has"),
    "class as a value": (type[int], r"cannot come from JSON; take its name, such as Literal"),
}


@pytest.mark.parametrize(("annotation", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_with_advice(annotation: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f'parameter "x": .*{message}') as caught:
        tool_of(annotation)
    assert "arbitrary_types_allowed" not in str(caught.value)


VIEWS = {"range": range(2), "keys": {0: 1, 1: 1}.keys(), "values": {"a": 0, "b": 1}.values()}


@pytest.mark.parametrize("value", VIEWS.values(), ids=VIEWS)
def test_ranges_and_views_are_lists(value: Any) -> None:
    assert data_of(result_of({"a": value})) == {"a": [0, 1]}
    assert data_of(result_of(value, list[int])) == {"result": [0, 1]}


UNWRITABLE = {
    "without annotation": (None, {"a": [1, {"b": Opaque()}]}, 'at "a\\[1\\].b": JSON cannot hold .* type Opaque'),
    "in a model": (Holder, Holder(inner=[Opaque()]), 'at "inner\\[0\\]": JSON cannot hold .* type Opaque'),
    "in any": (dict[str, Any], {"a": Opaque()}, 'at "a": JSON cannot hold'),
    "in a dataclass": (None, [Plain("a", Opaque())], 'at "\\[0\\].size": '),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("annotation", "value", "message"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_what_cannot_be_sent_is_an_error_with_its_place(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(ReturnedValueError, match=message):
        _ = result_of(value) if annotation is None else result_of(value, annotation)


def test_numpy_values_are_sent() -> None:
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    value = {"a": np.int64(3), "b": np.arange(3), "c": np.True_, "d": {np.int64(1): np.float32(1.5)}}
    sent = {"a": 3, "b": [0, 1, 2], "c": True, "d": {"1": 1.5}}
    assert data_of(result_of(value)) == sent
    assert data_of(result_of(value, dict[str, Any])) == sent
    assert data_of(result_of(np.int64(3), int)) == {"result": 3}
    assert data_of(result_of(np.arange(3.0), list[float])) == {"result": [0.0, 1.0, 2.0]}
    assert text_of(result_of(np.arange(3), np.ndarray)) == "[0,1,2]"
    assert data_of(result_of({"t": np.datetime64("2024-01-01T00:00:00", "ns")})) == {"t": "2024-01-01T00:00:00"}
    with pytest.raises(TypeError, match=r"numpy.ndarray; take what JSON has, such as str, list"):
        tool_of(np.ndarray)


def test_pandas_values_are_sent() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pd.DataFrame({"x": [1, 2], "t": pd.to_datetime(["2024-01-01", None])})
    rows = [{"x": 1, "t": "2024-01-01T00:00:00"}, {"x": 2, "t": None}]
    assert data_of(result_of({"rows": table})) == {"rows": rows}
    assert data_of(result_of(table, list[dict[str, Any]])) == {"result": rows}
    assert data_of(result_of({"t": [pd.NaT, pd.NA], "s": pd.Series([1, 2])})) == {"t": [None, None], "s": [1, 2]}
    assert data_of(result_of({"t": pd.NaT}, dict[str, datetime.datetime | None])) == {"t": None}


def test_the_labels_of_pandas_rows_are_sent() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pd.DataFrame({"k": ["a", "a", "b"], "v": [1, 2, 3]})
    counts = {"a": 2, "b": 1}
    assert data_of(result_of(table["k"].value_counts(), dict[str, int])) == counts
    assert data_of(result_of({"counts": table["k"].value_counts()})) == {"counts": counts}
    sums = [{"k": "a", "v": 3}, {"k": "b", "v": 3}]
    assert data_of(result_of(table.groupby("k").sum(), list[dict[str, Any]])) == {"result": sums}
    assert data_of(result_of({"rows": table.groupby("k").sum()})) == {"rows": sums}
    sizes = [{"k": "a", "v": 1, "n": 1}, {"k": "a", "v": 2, "n": 1}, {"k": "b", "v": 3, "n": 1}]
    assert data_of(result_of(table.groupby(["k", "v"]).size().rename("n"), list[Any])) == {"result": sizes}
    described = data_of(result_of(table.describe(), list[dict[str, Any]]))["result"]
    assert described[0] == {"index": "count", "v": 3.0}
    with pytest.raises(ReturnedValueError, match="should be array, got object"):
        result_of(table["k"].value_counts(), list[int])
    repeated = pd.Series([1, 2], index=["a", "a"])
    assert data_of(result_of({"s": repeated})) == {"s": [{"index": "a", "value": 1}, {"index": "a", "value": 2}]}


def test_numbers_of_pandas_rows_are_sent_unless_they_count_from_zero() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    years = pd.Series([5, 6], index=[2020, 2021])
    assert data_of(result_of({"s": years})) == {"s": {"2020": 5, "2021": 6}}
    assert data_of(result_of(years, dict[int, int])) == {"2020": 5, "2021": 6}
    assert data_of(result_of({"s": pd.Series([5, 6])})) == {"s": [5, 6]}
    table = pd.DataFrame({"v": [1, 2, 3]})
    assert data_of(result_of({"rows": table[:2]})) == {"rows": [{"v": 1}, {"v": 2}]}
    for part in (table[table["v"] != 2], table.sort_values("v", ascending=False)[::-2]):
        assert data_of(result_of({"rows": part})) == {"rows": [{"index": 0, "v": 1}, {"index": 2, "v": 3}]}


def test_numbers_of_pandas_rows_are_left_out_where_a_type_has_no_place_for_them() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pd.DataFrame({"v": [1, 2, 3]})
    part = table[table["v"] != 2]
    assert data_of(result_of(part["v"], list[int])) == {"result": [1, 3]}
    assert data_of(result_of({"v": [part["v"]]}, dict[str, list[list[int]]])) == {"v": [[1, 3]]}
    assert data_of(result_of(part, list[dict[Literal["v"], int]])) == {"result": [{"v": 1}, {"v": 3}]}


class TwoOfOneName(BaseModel):
    a: int = Field(1, serialization_alias="x")
    b: int = Field(2, serialization_alias="x")


def computed_twice(self: Any) -> int:
    return 1


EQUAL_KEYS: list[Any] = [
    *({1: "a", "1": "b"}, {True: 1, "true": 2}, {None: 1, "None": 2}, {1.5: 1, "1.5": 2}, {(1, 2): 1, "1,2": 2}),
    {datetime.date(2020, 1, 1): 1, "2020-01-01": 2},
]


@pytest.mark.parametrize("value", EQUAL_KEYS, ids=str)
def test_keys_that_are_equal_in_json_are_an_error(value: Any) -> None:
    name = next(key for key in value if isinstance(key, str))
    message = re.escape(f'{name}": two keys or fields have this name in JSON')
    returned: list[tuple[Any, Any]] = [
        *((value, Any), (value, dict), ({"k": [value]}, dict[str, Any]), ([value], list[dict[Any, Any]])),
        (Anything(x=value), Any),
        (Anything(x=value), Anything),
    ]
    for result, annotation in returned:
        with pytest.raises(ReturnedValueError, match=message):
            result_of(result, annotation)
    with pytest.raises(ReturnedValueError, match=message):
        result_of(ToolResult(structured_content={"k": value}))


@dataclass(slots=True)
class Slotted:
    x: Any
    y: int = 1


@pytest.mark.parametrize("kind", [AroundAny, Slotted, AttrsAny, StructAny], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("is_typed", [False, True], ids=["untyped", "typed"])
def test_an_attribute_that_was_deleted_is_named_with_its_path(kind: Any, is_typed: bool) -> None:
    value = kind(x=1)
    del value.x
    words = 'cannot be sent, at "{}": the object has no such attribute; give it a value'
    for returned, annotation, path in (
        (value, kind, "x"),
        ([value], list[kind], "[0].x"),
        ({"a": [1, value]}, dict[str, list[int | kind]], "a[1].x"),
    ):
        with pytest.raises(ReturnedValueError, match=re.escape(words.format(path))):
            result_of(returned, annotation if is_typed else None)


@pytest.mark.parametrize("annotation", [None, Any, dict])
def test_equal_keys_beside_bytes_are_an_error(annotation: Any) -> None:
    value = {1: b"\xff\xfe\xfd", "1": "a-b"}
    for returned in (value, {"m": Anything(x=value)}, {"m": [value]}):
        with pytest.raises(ReturnedValueError, match="What it returned cannot be sent"):
            result_of(returned, annotation)


def test_keys_of_a_union_are_an_error_where_they_are_equal() -> None:
    assert data_of(result_of({1: "a", "2": "b"}, dict[int | str, str])) == {"1": "a", "2": "b"}
    with pytest.raises(ReturnedValueError, match='"1": two keys or fields'):
        result_of({1: "a", "1": "b"}, dict[int | str, str])


def test_labels_of_pandas_that_are_equal_in_json_are_an_error() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    for value in (pd.Series(["a", "b"], index=[1, "1"]), pd.DataFrame([[1, 2]], columns=[1, "1"])):
        with pytest.raises(ReturnedValueError, match='1": two keys or fields have this name'):
            result_of({"t": value})
    missing = pd.Series([1, 2], index=[float("nan"), "a"])
    assert data_of(result_of({"s": missing})) == {"s": {"NaN": 1, "a": 2}}
    table = pd.DataFrame([[1, 2]], columns=[float("nan"), "b"])
    assert data_of(result_of({"t": table})) == {"t": [{"NaN": 1, "b": 2}]}


def test_two_fields_of_one_name_are_refused_at_registration() -> None:
    computed = type("Computed", (BaseModel,), {"c": computed_field(alias="c_")(property(computed_twice))})
    assert data_of(result_of(computed(), computed)) == {"c_": 1}
    for annotation in (TwoOfOneName, list[TwoOfOneName]):
        with pytest.raises(TypeError, match='the result: 2 of its fields are called "x" in JSON'):
            result_of(TwoOfOneName(), annotation)
    with pytest.raises(ReturnedValueError, match=r'"m\.x": two keys or fields have this name'):
        result_of({"m": TwoOfOneName()})


@pytest.mark.parametrize("number", [1e300, 1e-7, 1e16, 10**30, -0.0, 5.0, 123456789.123])
def test_numbers_of_other_forms_are_no_equal_keys(number: float) -> None:
    assert data_of(result_of({"n": [number], "m": {"n": number}})) == {"n": [number], "m": {"n": number}}


def test_a_pandas_table_with_two_columns_of_one_name_is_an_error() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    labelled = pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="a"))
    for table in (twice, labelled):
        for annotation in (None, dict[str, Any]):
            with pytest.raises(ReturnedValueError, match='at "rows": two columns of a table have the same name'):
                _ = result_of({"rows": table}) if annotation is None else result_of({"rows": table}, annotation)
        with pytest.raises(ReturnedValueError, match="two columns of a table have the same name"):
            result_of(table, list[dict[str, Any]])


@pytest.mark.parametrize("annotation", [None, dict[str, Any]])
@pytest.mark.parametrize("member", [Blob(data=b"hi"), Anything(x=1), 1])
def test_what_refers_to_itself_is_an_error_with_models_and_without(annotation: Any, member: Any) -> None:
    value: dict[str, Any] = {"m": member}
    value["again"] = [value, value]
    with pytest.raises(ReturnedValueError, match=r"it refers to itself|it is nested too deeply"):
        _ = result_of(value) if annotation is None else result_of(value, annotation)


class Lazy(BaseModel):
    """A model that validates its items when they are read, which is once."""

    items: Iterable[int]
    more: Any = None


@pytest.mark.parametrize("annotation", [Lazy, dict[str, Lazy], dict[str, Any], list[Any], None])
def test_items_that_are_validated_lazily_are_sent(annotation: Any) -> None:
    value = Lazy(items=[1, 2], more="a-b")
    sent = {"items": [1, 2], "more": "a-b"}
    if annotation is Lazy or annotation is None:
        assert data_of(result_of(value) if annotation is None else result_of(value, Lazy)) == sent
    elif annotation == list[Any]:
        assert data_of(result_of([value], annotation)) == {"result": [sent]}
    else:
        assert data_of(result_of({"k": value}, annotation)) == {"k": sent}


# -- choices of which no call can make one ---------------------------------------------------------------------


def never(value: Any) -> Any:
    raise ValueError("no")


def never_in_text(value: Any) -> Any:
    raise LookupError("no database yet")


Never = Annotated[Literal["a", "b"], AfterValidator(never)]


class Wants(BaseModel):
    kind: Never
    other: int


class MayHave(BaseModel):
    kind: Never | None = None
    other: list[int]


UNCALLABLE = {
    "choice": (Never, '"x"'),
    "choice in a list": (list[Never], r'"x\[0\]"'),
    "choice in a model": (Wants, r'"x\.kind"'),
    "choice in a model in a list": (list[Wants], r'"x\[0\]\.kind"'),
}


@pytest.mark.parametrize(("annotation", "where"), UNCALLABLE.values(), ids=UNCALLABLE)
def test_choices_of_which_every_value_is_refused_are_refused(annotation: Any, where: str) -> None:
    with pytest.raises(TypeError, match=rf"parameter {where}: it can never be called, .*; use Literal"):
        tool_of(annotation)


CALLABLE = {
    "beside another type": Never | int,
    "optional in a model": MayHave,
    "validator that raises anything": Annotated[Literal["a"], AfterValidator(never_in_text)],
    "some values are taken": Annotated[Literal[1, 2], Field(ge=2)],
    "texts without choice": Annotated[str, AfterValidator(never)],
    "keys that look like one": Literal["enum", "const"],
}


@pytest.mark.parametrize("annotation", CALLABLE.values(), ids=CALLABLE)
def test_what_may_be_called_is_registered(annotation: Any) -> None:
    assert list(tool_of(annotation).definition.input_schema["properties"]) == ["x"]


def test_a_choice_with_a_default_may_be_left_out() -> None:
    def take(x: Never = "a") -> str:
        return x

    assert received(make(take), {}) == "a"


PLAINER = {
    "mapping": (types.MappingProxyType({"x": 1}), {"x": 1}),
    "text": (collections.UserString("abc"), "abc"),
    "several mappings": (collections.ChainMap({"a": 1}), {"a": 1}),
    "own list": (collections.UserList([1]), [1]),
    "raw JSON": (msgspec.Raw(b'{"b":[1]}'), {"b": [1]}),
}


@pytest.mark.parametrize(("value", "sent"), PLAINER.values(), ids=PLAINER)
def test_containers_of_any_kind_are_sent(value: Any, sent: Any) -> None:
    assert data_of(result_of({"a": value})) == {"a": sent}
    assert data_of(result_of({"a": value}, dict[str, Any])) == {"a": sent}


def test_a_class_that_pydantic_has_advice_for_is_refused_with_that_advice() -> None:
    class Early(msgspec.Struct):
        a: "Unknown"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match=r'parameter "x": in Early, the name "Unknown" is not known; import it'):
        tool_of(Early)
