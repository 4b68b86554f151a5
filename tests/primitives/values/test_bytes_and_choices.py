"""Bytes with serializers, in unions and among choices; other types that are read and written differently."""

import datetime
import enum
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Json,
    NaiveDatetime,
    PlainSerializer,
    SecretStr,
    WrapSerializer,
    field_serializer,
)
from typing_extensions import TypedDict

from enfilade.primitives.errors import ArgumentsError
from support.servers.tools_in_process import data_of, make, received, result_of

RAW, BASE64, URL_SAFE = b"\xfb\xff", "+/8=", "-_8="


def hidden(value: bytes) -> str:
    return "***"


def hidden_in_silence(value: Any):  # type: ignore[no-untyped-def]
    return "***"


def bracketed(value: bytes, handler: Callable[[bytes], str]) -> str:
    return f"<{handler(value)}>"


Hidden = Annotated[bytes, PlainSerializer(hidden)]
HiddenInSilence = Annotated[bytes, PlainSerializer(hidden_in_silence)]
HiddenInJson = Annotated[bytes, PlainSerializer(hidden, when_used="json")]
Bracketed = Annotated[bytes, WrapSerializer(bracketed)]


class ByMethod(BaseModel):
    token: bytes

    @field_serializer("token")
    def hide(self, value: bytes) -> str:
        return "***"


class ByWrappingMethod(BaseModel):
    token: Annotated[bytes, Field(min_length=1)]

    @field_serializer("token", mode="wrap")
    def hide(self, value: bytes, handler: Any) -> str:
        return f"<{handler(value)}>"


class InModel(BaseModel):
    token: Hidden


@dataclass
class InDataclass:
    token: Bracketed


STRING = {"type": "string"}

# annotation, value, what is sent for it, its schema
SERIALIZED: dict[str, tuple[Any, Any, Any, Any]] = {
    "plain": (Hidden, RAW, "***", STRING),
    "without return type": (HiddenInSilence, RAW, "***", {}),
    "in JSON alone": (HiddenInJson, RAW, "***", STRING),
    "wrapping": (Bracketed, RAW, f"<{BASE64}>", STRING),
}
OBJECTS: dict[str, tuple[Any, Any, Any]] = {
    "method": (ByMethod, ByMethod(token=RAW), "***"),
    "wrapping method": (ByWrappingMethod, ByWrappingMethod(token=RAW), f"<{BASE64}>"),
    "annotated, in a model": (InModel, InModel(token=RAW), "***"),
    "annotated, in a dataclass": (InDataclass, InDataclass(RAW), f"<{BASE64}>"),
}


@pytest.mark.parametrize(("annotation", "value", "sent", "schema"), SERIALIZED.values(), ids=SERIALIZED)
def test_a_serializer_of_the_author_writes_the_bytes(annotation: Any, value: Any, sent: Any, schema: Any) -> None:
    assert data_of(result_of(value, annotation)) == {"result": sent}
    assert data_of(result_of([value], list[annotation])) == {"result": [sent]}
    assert data_of(result_of({"k": value}, dict[str, annotation])) == {"k": sent}
    assert output_of(annotation)["properties"]["result"] == schema


@pytest.mark.parametrize(("annotation", "value", "sent"), OBJECTS.values(), ids=OBJECTS)
def test_a_serializer_of_the_author_writes_the_bytes_of_an_object(annotation: Any, value: Any, sent: Any) -> None:
    assert data_of(result_of(value, annotation)) == {"token": sent}
    assert output_of(annotation)["properties"]["token"] == STRING
    assert input_of(annotation)["properties"]["token"] == {**STRING, "contentEncoding": "base64"}
    assert got(annotation, {"token": BASE64}).token == RAW


# -- unions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "annotation", [str | bytes, str | bytes | None, str | Annotated[bytes, Field(min_length=1)]]
)
@pytest.mark.parametrize("text", ["test", "a$", ""])
def test_a_text_stays_text_where_it_may(annotation: Any, text: str) -> None:
    assert got(annotation, text) == text


def test_bytes_in_a_union_without_text_are_decoded() -> None:
    assert got(bytes | int, BASE64) == RAW
    assert got(int | bytes | None, BASE64) == RAW
    assert got(list[bytes | float], [URL_SAFE, 1.5]) == [RAW, 1.5]


# -- choices ---------------------------------------------------------------------------------------------------


class Mark(enum.Enum):
    """How a file begins."""

    RAW = b"\xfb\xff"
    TEXT = "q"


class Pairs(enum.Enum):
    FIRST = (b"\xfb\xff", 1)
    OTHER = (1, 2)


class First(BaseModel):
    kind: Literal[b"\xfb\xff"]


class Second(BaseModel):
    kind: Literal["q"]


# annotation, each choice with its JSON
CHOICES: dict[str, tuple[Any, list[tuple[Any, Any]]]] = {
    "Literal": (Literal[b"\xfb\xff", "q", 1, None], [(RAW, BASE64), ("q", "q"), (1, 1), (None, None)]),
    "one": (Literal[b"\xfb\xff"], [(RAW, BASE64)]),
    "Literal of bytes that are UTF-8": (Literal[b"a", "q"], [(b"a", "YQ=="), ("q", "q")]),
    "Literal of members": (Literal[Mark.RAW, Mark.TEXT], [(Mark.RAW, BASE64), (Mark.TEXT, "q")]),
    "Enum": (Mark, [(Mark.RAW, BASE64), (Mark.TEXT, "q")]),
    "Enum of tuples": (Pairs, [(Pairs.FIRST, [BASE64, 1]), (Pairs.OTHER, [1, 2])]),
}


@pytest.mark.parametrize(("annotation", "choices"), CHOICES.values(), ids=CHOICES)
def test_bytes_among_choices_are_base64_in_and_out(annotation: Any, choices: list[tuple[Any, Any]]) -> None:
    listed = [sent for _, sent in choices]
    assert input_of(annotation)["enum"] == listed
    assert output_of(annotation)["properties"]["result"]["enum"] == listed
    for value, sent in choices:
        assert got(annotation, sent) == value
        assert data_of(result_of(value, annotation)) == {"result": sent}
        assert data_of(result_of([value], list[annotation])) == {"result": [sent]}


@pytest.mark.parametrize("annotation", [Mark, Literal[b"\xfb\xff", "q"], Literal[b"a"]])
@pytest.mark.parametrize("sent", ["a", "x", URL_SAFE, 7])
def test_what_is_no_choice_is_refused_by_what_may_be_sent(annotation: Any, sent: Any) -> None:
    with pytest.raises(ArgumentsError, match=r'should be .*="'):
        got(annotation, sent)


def test_choices_that_are_used_twice() -> None:
    class Day(enum.Enum):
        FIRST = datetime.date(2024, 1, 1)

    assert got(tuple[Day, Day], ["2024-01-01"] * 2) == (Day.FIRST, Day.FIRST)
    assert got(tuple[Mark, Mark], [BASE64, "q"]) == (Mark.RAW, Mark.TEXT)
    assert got(tuple[Pairs, Pairs], [[1, 2], [BASE64, 1]]) == (Pairs.OTHER, Pairs.FIRST)


def test_choices_of_bytes_as_keys_and_tags() -> None:
    assert data_of(result_of({Mark.RAW: 1}, dict[Mark, int])) == {BASE64: 1}
    assert got(dict[Mark, int], {BASE64: 1, "q": 2}) == {Mark.RAW: 1, Mark.TEXT: 2}
    tagged = Annotated[First | Second, Field(discriminator="kind")]
    assert got(tagged, {"kind": BASE64}) == First(kind=RAW)
    assert data_of(result_of(First(kind=RAW), tagged)) == {"result": {"kind": BASE64}}


def test_an_enum_keeps_its_title_and_description() -> None:
    expected = {"title": "Mark", "description": "How a file begins.", "type": "string", "enum": [BASE64, "q"]}
    assert input_of(Mark) == expected
    assert output_of(Mark)["properties"]["result"] == expected


# -- options of models, and others -----------------------------------------------------------------------------


class InHex(TypedDict):
    __pydantic_config__ = ConfigDict(ser_json_bytes="hex")  # type: ignore[misc]
    data: bytes


class ModelInHex(BaseModel):
    model_config = ConfigDict(ser_json_bytes="hex")
    data: bytes
    secret: SecretStr = SecretStr("x")


class Names(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    ratio: float


@pytest.mark.parametrize(("annotation", "value"), [(InHex, {"data": RAW}), (ModelInHex, ModelInHex(data=RAW))])
def test_bytes_in_an_encoding_of_their_own(annotation: Any, value: Any) -> None:
    assert data_of(result_of(value, annotation))["data"] == "fbff"
    assert "format" not in json.dumps(output_of(annotation))


@pytest.mark.parametrize(("value", "sent"), [(1.5, 1.5), (math.nan, "NaN"), (-math.inf, "-Infinity")])
def test_nan_as_text_where_the_model_says_so(value: float, sent: Any) -> None:
    assert data_of(result_of(Names(ratio=value), Names)) == {"ratio": sent}


@pytest.mark.parametrize(("value", "sent"), [([1], [1]), ("[1]", [1]), (b"[1]", [1])])
def test_json_may_be_returned_as_text_or_as_what_it_holds(value: Any, sent: Any) -> None:
    assert data_of(result_of(value, Json[list[int]])) == {"result": sent}
    assert data_of(result_of({"k": value}, dict[str, Json[list[int]]])) == {"k": sent}
    assert data_of(result_of("text", Json[str])) == {"result": "text"}


def test_a_datetime_without_offset_does_not_promise_one() -> None:
    assert "format" not in input_of(NaiveDatetime)
    assert got(NaiveDatetime, "2024-01-02T03:04:05") == datetime.datetime(2024, 1, 2, 3, 4, 5)


def tool_for(annotation: Any) -> Any:
    def tool(x: Any) -> Any:
        return x

    tool.__annotations__ = {"x": annotation, "return": annotation}
    return make(tool)


def got(annotation: Any, sent: Any) -> Any:
    return received(tool_for(annotation), {"x": sent})


def input_of(annotation: Any) -> Any:
    return tool_for(annotation).definition.input_schema["properties"]["x"]


def output_of(annotation: Any) -> Any:
    return tool_for(annotation).definition.output_schema
