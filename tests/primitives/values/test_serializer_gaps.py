"""Fields that are missing or None against their type are never sent, whatever object they are in (R-514)."""

import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    WrapSerializer,
    computed_field,
    field_serializer,
    model_serializer,
)
from typing_extensions import TypedDict

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.values import structured_output
from support.servers.tools_in_process import data_of, result_of


class Colour(enum.Enum):
    RED = "red"


class Inner(BaseModel):
    a: int
    b: str = "x"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    a: int


class Sub(Inner):
    more: int = 1


class Holder(BaseModel):
    one: Inner | None = None
    many: dict[str, list[Inner]] = {}
    hidden: int = Field(default=0, exclude=True)


class Items(RootModel[list[Inner]]):
    pass


@dataclasses.dataclass
class Around:
    inner: Inner


@attrs.define
class AttrsAround:
    inner: Inner | None


class StructAround(msgspec.Struct):
    inner: Inner | None


FIELD_TYPES: list[Any] = [
    *(int, str, bool, float, bytes, list[int], dict[str, int], datetime.date, datetime.datetime, Colour),
    *(uuid.UUID, decimal.Decimal, Inner, Around, tuple[int, str], set[int], Literal["a"], int | str, Inner | int),
]

MAKERS: dict[str, Callable[[Any], Any]] = {
    "model": lambda kind: pydantic.create_model("Made", field=(kind, ...)),
    "dataclass": lambda kind: dataclasses.make_dataclass("Made", [("field", kind)]),
    "slots": lambda kind: dataclasses.make_dataclass("Made", [("field", kind)], slots=True),
    "attrs": lambda kind: attrs.make_class("Made", {"field": attrs.field(type=kind)}),
    "Struct": lambda kind: msgspec.defstruct("Made", [("field", kind)]),
}


def made_with_none(kind: Any) -> Any:
    return kind.model_construct(field=None) if issubclass(kind, BaseModel) else kind(None)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("field_type", FIELD_TYPES, ids=str)
def test_none_in_a_field_that_does_not_allow_it(maker: str, field_type: Any) -> None:
    kind = MAKERS[maker](field_type)
    value = made_with_none(kind)
    cases: list[tuple[Any, Any, str]] = [
        (kind, value, "field"),
        (list[kind], [value], r"result\[0\].field"),
        (dict[str, kind], {"k": value}, "k.field"),
        (tuple[int, kind], (1, value), r"result\[1\].field"),
    ]
    for annotation, returned, path in cases:
        with pytest.raises(ReturnedValueError, match=f'"{path}" '):
            result_of(returned, annotation)


@pytest.mark.parametrize("maker", MAKERS)
def test_none_among_the_items_of_a_field(maker: str) -> None:
    for field_type, value in ((list[int], [None]), (dict[str, int], {"k": None}), (list[list[int]], [[None]])):
        kind: Any = MAKERS[maker](field_type)
        instance = kind.model_construct(field=value) if maker == "model" else kind(value)
        with pytest.raises(ReturnedValueError, match="should be integer, got null"):
            result_of(instance, kind)


@pytest.mark.parametrize("maker", MAKERS)
def test_none_is_sent_where_the_type_allows_it(maker: str) -> None:
    for field_type in (int | None, Literal["a", None], Any, None):
        kind = MAKERS[maker](field_type)
        assert data_of(result_of(made_with_none(kind), kind)) == {"field": None}


def without_field() -> Inner:
    model = Inner(a=1)
    del model.a
    return model


INCOMPLETE: dict[str, tuple[Any, Any, str]] = {
    "constructed": (Inner, Inner.model_construct(b="y"), "a"),
    "deleted": (Inner, without_field(), "a"),
    "one with a default": (Inner, Inner.model_construct(a=1, _fields_set=set()), ""),
    "frozen": (Frozen, Frozen.model_construct(), "a"),
    "in a list": (list[Inner], [Inner(a=1), Inner.model_construct()], "result[1].a"),
    "in a tuple": (tuple[int, Inner], (1, Inner.model_construct()), "result[1].a"),
    "in a union": (Inner | int, Inner.model_construct(), "result.a"),
    "in a model": (Holder, Holder(one=Inner.model_construct()), "one.a"),
    "in containers of a model": (Holder, Holder(many={"k": [Inner.model_construct()]}), "many.k[0].a"),
    "of a root model": (Items, Items([Inner.model_construct()]), "result[0].a"),
    "in a dataclass": (Around, Around(Inner.model_construct()), "inner.a"),
    "in an attrs class": (AttrsAround, AttrsAround(Inner.model_construct()), "inner.a"),
    "in a Struct": (StructAround, StructAround(Inner.model_construct()), "inner.a"),
    "of a subclass": (Inner, Sub.model_construct(b="x"), "a"),
}


@pytest.mark.parametrize(("annotation", "value", "path"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_a_model_that_lacks_a_field(annotation: Any, value: Any, path: str) -> None:
    if not path:
        assert data_of(result_of(value, annotation)) == {"a": 1, "b": "x"}
        return
    with pytest.raises(ReturnedValueError) as caught:
        result_of(value, annotation)
    assert f'"{path}" is missing' in str(caught.value)


class Serialized(BaseModel):
    a: int = 1

    @field_serializer("a")
    def written(self, value: int) -> str:
        return None  # type: ignore[return-value]


class Computed(BaseModel):
    @computed_field
    def day(self) -> datetime.date:
        return None  # type: ignore[return-value]


class ComputedModel(BaseModel):
    @computed_field
    def inner(self) -> Inner:
        return Inner.model_construct(b="y")


class ComputedLimit(BaseModel):
    model_config = ConfigDict(frozen=True)

    @computed_field
    def size(self) -> Annotated[int, Field(gt=0)]:
        return 0


class WholeModel(BaseModel):
    a: int = 1

    @model_serializer
    def written(self) -> dict[str, int]:
        return {"a": None}  # type: ignore[dict-item]


Plain = Annotated[int, PlainSerializer(lambda value: None, return_type=str)]
Wrapped = Annotated[int, WrapSerializer(lambda value, write: None, return_type=str)]


@dataclasses.dataclass
class WithPlain:
    a: Plain


BY_FUNCTIONS: dict[str, tuple[Any, Any, str]] = {
    "field serializer": (Serialized, Serialized(), '"a" should be string'),
    "computed field": (Computed, Computed(), '"day" should be '),
    "computed model": (ComputedModel, ComputedModel(), '"inner.a" is missing'),
    "computed with a limit": (ComputedLimit, ComputedLimit(), '"size" should be '),
    "model serializer": (WholeModel, WholeModel(), '"a" should be integer'),
    "PlainSerializer": (Plain, 1, '"result" should be string'),
    "WrapSerializer": (Wrapped, 1, '"result" should be string'),
    "in a list": (list[Plain], [1], r'"result\[0\]" should be string'),
    "in a dataclass": (WithPlain, WithPlain(1), '"a" should be string'),
    "in a dict": (dict[str, Wrapped], {"k": 1}, '"k" should be string'),
}


@pytest.mark.parametrize(("annotation", "value", "message"), BY_FUNCTIONS.values(), ids=BY_FUNCTIONS)
def test_what_functions_of_the_author_write_is_checked(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(ReturnedValueError, match=message):
        result_of(value, annotation)


def test_what_functions_of_the_author_write_is_sent_where_it_fits() -> None:
    class Both(BaseModel):
        a: Annotated[int, PlainSerializer(lambda value: None, return_type=str | None)] = 1

        @computed_field
        def b(self) -> int | None:
            return None

    assert data_of(result_of(Both(), Both)) == {"a": None, "b": None}


def require_missing(schema: dict[str, Any]) -> None:
    schema["required"] = ["missing"]


class ExtraDict(BaseModel):
    model_config = ConfigDict(json_schema_extra={"required": ["missing"]})
    a: int = 1


class ExtraFunction(BaseModel):
    model_config = ConfigDict(json_schema_extra=require_missing)
    a: int = 1


@pydantic.dataclasses.dataclass(config=ConfigDict(json_schema_extra=require_missing))
class ExtraDataclass:
    a: int = 1


class ExtraTyped(TypedDict):
    __pydantic_config__ = ConfigDict(json_schema_extra=require_missing)  # type: ignore[misc]
    a: int


EXTRAS: dict[str, tuple[Any, Any]] = {
    "dict": (ExtraDict, ExtraDict()),
    "function": (ExtraFunction, ExtraFunction()),
    "dataclass": (ExtraDataclass, ExtraDataclass()),
    "TypedDict": (ExtraTyped, {"a": 1}),
}


@pytest.mark.parametrize(("kind", "value"), EXTRAS.values(), ids=EXTRAS)
def test_the_schema_that_a_config_changes_is_checked(kind: Any, value: Any) -> None:
    for annotation, returned in ((kind, value), (list[kind], [value])):
        with pytest.raises(ReturnedValueError, match='missing" is missing'):
            result_of(returned, annotation)


COMPLETE: dict[str, tuple[Any, Any]] = {
    "nested": (Holder, Holder(one=Inner(a=1), many={"k": [Inner(a=2)]})),
    "null where it may be": (Holder, Holder()),
    "a list": (list[Inner], [Inner(a=1)] * 3),
    "a union": (Inner | str, "text"),
    "attrs": (AttrsAround, AttrsAround(Inner(a=1))),
    "null in attrs": (Around, Around(Inner(a=1))),
}


@pytest.mark.parametrize(("annotation", "value"), COMPLETE.values(), ids=COMPLETE)
def test_a_complete_object_is_not_checked_against_the_schema(
    monkeypatch: pytest.MonkeyPatch, annotation: Any, value: Any
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("checked")

    expected = data_of(result_of(value, annotation))
    monkeypatch.setattr(structured_output, "refuse_problems", refuse)
    assert data_of(result_of(value, annotation)) == expected


class Note(BaseModel):
    title: str
    text: str | None = None
    parent: "Note | None" = None


class Hidden(BaseModel):
    text: str | None = None
    name: str = "a"

    @field_serializer("text")
    def write(self, text: str | None) -> str:
        return "hidden"


LONG = 300
"""Of these objects, the JSON is too long for a search of each."""


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([Note(title="a", text="b", parent=Note(title="c"))], id="null where it may be"),
        pytest.param([Note(title="a", text="b", parent=Note(title="c", text="d", parent=None))], id="nested"),
    ],
)
def test_many_complete_objects_are_not_checked_against_the_schema(
    monkeypatch: pytest.MonkeyPatch, value: list[Note]
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("checked")

    monkeypatch.setattr(structured_output, "refuse_problems", refuse)
    assert len(data_of(result_of(value * LONG, list[Note]))["result"]) == LONG


@pytest.mark.parametrize(
    ("annotation", "first", "last", "message"),
    [
        pytest.param(Note, Note(title="a"), Note.model_construct(title=None), "title", id="None"),
        pytest.param(Note, Note(title="a"), Note.model_construct(text="a"), "title", id="a missing field"),
        pytest.param(
            Note,
            Note(title="a"),
            Note(title="b", parent=Note.model_construct(title=None)),
            "parent.title",
            id="deep",
        ),
        pytest.param(Hidden, Hidden(), Hidden.model_construct(text="a", name=None), "name", id="a serializer"),
    ],
)
def test_one_incomplete_object_among_many_is_found(annotation: Any, first: Any, last: Any, message: str) -> None:
    with pytest.raises(ReturnedValueError, match=rf'"result\[{LONG}\].{message}" '):
        result_of([first] * LONG + [last], list[annotation])


# -- dataclasses among values of any type ----------------------------------------------------------------------
@dataclasses.dataclass
class Masked:
    token: Annotated[bytes, PlainSerializer(lambda value: "***", return_type=str)]


@dataclasses.dataclass(slots=True)
class MaskedSlots:
    token: Annotated[str, PlainSerializer(lambda value: "***", return_type=str)]


class Opaque:
    """A class of which pydantic knows nothing."""


@dataclasses.dataclass
class MaskedBesideOthers:
    token: Annotated[str, PlainSerializer(lambda value: "***", return_type=str)]
    other: Annotated[Opaque, Field(exclude=True)]


@dataclasses.dataclass
class Renamed:
    a: Annotated[int, Field(serialization_alias="A")]
    hidden: Annotated[int, Field(exclude=True)] = 5


@dataclasses.dataclass
class InHex:
    __pydantic_config__ = ConfigDict(ser_json_bytes="hex")
    data: bytes


@dataclasses.dataclass
class Nesting:
    inner: Masked


class Words(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    x: float


class Constants(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")
    x: float


class Open(BaseModel):
    x: Any


NAN = float("nan")
OWN_FORMS: dict[str, tuple[Any, Any]] = {
    "serializer": (Masked(b"secret"), {"token": "***"}),
    "slots": (MaskedSlots("secret"), {"token": "***"}),
    "beside a class without a schema": (MaskedBesideOthers("secret", Opaque()), {"token": "***"}),
    "alias and exclude": (Renamed(1), {"A": 1}),
    "config": (InHex(b"\xff"), {"data": "ff"}),
    "nested": (Nesting(Masked(b"secret")), {"inner": {"token": "***"}}),
    "NaN as a string": (Words(x=NAN), {"x": "NaN"}),
    "NaN as a constant": (Constants(x=NAN), {"x": None}),
    "a plain dataclass": (Around(Inner(a=1)), {"inner": {"a": 1, "b": "x"}}),
}


@pytest.mark.parametrize(("value", "expected"), OWN_FORMS.values(), ids=OWN_FORMS)
def test_objects_among_values_of_any_type_are_written_by_their_own_type(value: Any, expected: Any) -> None:
    assert data_of(result_of(value)) == expected
    assert data_of(result_of({"k": [value]})) == {"k": [expected]}
    assert data_of(result_of({"k": value}, dict[str, Any])) == {"k": expected}
    assert data_of(result_of([value], list[Any])) == {"result": [expected]}
    assert data_of(result_of(Open(x=value), Open)) == {"x": expected}
    assert data_of(result_of(Open(x=[value]))) == {"x": [expected]}


def test_the_type_of_a_field_is_not_checked_among_values_of_any_type() -> None:
    wrong: Any = MaskedSlots(token=5)  # type: ignore[arg-type]
    assert data_of(result_of({"k": wrong})) == {"k": {"token": "***"}}
