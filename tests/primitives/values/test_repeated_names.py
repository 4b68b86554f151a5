"""Names that are repeated in JSON: where they are looked for, and what that costs."""

import datetime
import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import attrs
import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field, model_serializer

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.values import repeated_names
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.primitives.values.repeated_names import may_repeat_names, path_of_repeated_name
from enfilade.primitives.values.structured_output import writer_for
from enfilade.wire.content import TextContent
from support.servers.tools_in_process import result_of

LONG = 20_000


class Named(BaseModel):
    name: str
    more: Any = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = Field(1, serialization_alias="b")


class ByHand(BaseModel):
    @model_serializer
    def write(self) -> dict[Any, Any]:
        return {1: "a", "1": "b"}


class Computed(BaseModel):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def table(self) -> dict[Any, Any]:
        return {1: "a", "1": "b"}


@dataclass
class Holder:
    value: Any


@attrs.define
class OfAttrs:
    value: Any


class OfMsgspec(msgspec.Struct):
    value: Any


class Setting(enum.Enum):
    TABLE = (1, 2)


WITHOUT: dict[str, Any] = {
    "a large float": {"rows": {"total": 1e16}},
    "an integer of many digits": {"a": 10**5000, "b": [1]},
    "half a surrogate pair": {"a": ["\ud800"]},
    "dates": [{"at": datetime.datetime(2020, 1, 1), "price": Decimal("1.5")}],
    "a model": {"m": [Named(name="a", more={"k": [1]})]},
    "a dataclass": [Holder({"k": [1]})],
    "attrs": [OfAttrs({"k": [1]})],
    "msgspec": [OfMsgspec({"k": [1]})],
    "an enum": [{"k": Setting.TABLE}],
    "many": [{f"k{index}": [1.5]} for index in range(LONG)],
}


@pytest.mark.parametrize("value", WITHOUT.values(), ids=WITHOUT)
def test_json_is_not_read_where_no_name_can_be_repeated(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_data: bytes, _subject: str) -> None:
        pytest.fail("the JSON was read")

    monkeypatch.setattr(repeated_names, "refuse_repeated_names_in", read)
    assert json_bytes(value)


REPEATED: dict[str, Any] = {
    "a dict": {"k": [{1: "a", "1": "b"}]},
    "many": [*({"k": [1]} for _ in range(LONG)), {1: "a", "1": "b"}],
    "beside an integer of many digits": {1: 10**5000, "1": "b"},
    "a model": [Named(name="a", more={1: "a", "1": "b"})],
    "an extra field": [Open.model_validate({"a": 1, "b": 2})],
    "a serializer": [ByHand()],
    "a computed field": [Computed()],
    "a dataclass": [Holder({1: "a", "1": "b"})],
    "attrs": [OfAttrs({1: "a", "1": "b"})],
    "msgspec": [OfMsgspec({1: "a", "1": "b"})],
}


@pytest.mark.parametrize("value", REPEATED.values(), ids=REPEATED)
def test_repeated_names_are_found(value: Any) -> None:
    with pytest.raises(ReturnedValueError, match="two keys or fields have this name in JSON"):
        json_bytes(value)


@pytest.mark.parametrize("annotation", [Open, Computed, ByHand])
def test_repeated_names_of_declared_classes_are_found(annotation: Any) -> None:
    value = annotation.model_validate({"b": 2})
    with pytest.raises(ReturnedValueError, match="two keys or fields have this name in JSON"):
        result_of(value, annotation)


@pytest.mark.parametrize("annotation", [Any, dict[str, Any], list[Any]])
def test_integers_of_many_digits_are_sent(annotation: Any) -> None:
    value: dict[str, Any] = {"a": 10**5000, "b": [1], "c": {2: 3}}
    result = writer_for(annotation, label="f()").write([value] if annotation == list[Any] else value)
    (block,) = result.content
    assert isinstance(block, TextContent)
    assert "1" + "0" * 5000 in block.text


class CountedName(str):
    """A name that counts how often it is compared with another."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedName.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_names_are_compared_a_linear_number_of_times() -> None:
    pairs = [(CountedName(f"k{index}"), 1) for index in range(1000)]
    assert path_of_repeated_name(repeated_names._Pairs([("outer", repeated_names._Pairs(pairs))])) == ()
    assert CountedName.compared < len(pairs)
    assert path_of_repeated_name(repeated_names._Pairs([*pairs, ("k7", 1)])) == ("k7",)


def test_the_sort_of_long_values_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder that sorts takes quadratic time at worst."""
    sorted_values: list[Any] = []
    monkeypatch.setattr("enfilade.primitives.values.repeated_names._sorted_json", sorted_values.append)
    value = {f"k{index}": [1] for index in range(LONG)}
    assert may_repeat_names(value, len(json_bytes(value))) is False
    assert sorted_values == []
