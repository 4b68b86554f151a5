"""Results: what becomes of values without an output schema (D49)."""

import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import mcp.types
import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from msgspec import UNSET
from pydantic import BaseModel

from enfilade.primitives.errors import ReturnedValueError, ToolError
from enfilade.primitives.values.media import Audio, File, Image
from enfilade.primitives.values.results import ToolResult
from enfilade.wire.content import (
    AudioContent,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from enfilade.wire.tools import CallToolResult
from support.servers.tools_in_process import data_of, result_of, text_of


class Model(BaseModel):
    x: int = 1


@dataclasses.dataclass
class Data:
    x: int = 1


class Struct(msgspec.Struct):
    x: int = 1


class Pair(NamedTuple):
    a: int
    b: int


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    ONE = "one"


class Lines(str):
    __slots__ = ()


DAY = datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)

VALUES = {
    "text": ("hé", "hé", UNSET),
    "empty text": ("", "", UNSET),
    "subclass of str": (Lines("a"), "a", UNSET),
    "text that looks like an object": ('{"a":1}', '{"a":1}', UNSET),
    "path that looks like an object": (Path("{a}"), "{a}", UNSET),
    "int": (5, "5", UNSET),
    "big int": (10**30, "1" + "0" * 30, UNSET),
    "very big int": (10**5000, "1" + "0" * 5000, UNSET),
    "float": (1.5, "1.5", UNSET),
    "bool": (True, "true", UNSET),
    "nan": (math.nan, "null", UNSET),
    "infinity": (-math.inf, "null", UNSET),
    "list": ([1, "a", None], '[1,"a",null]', UNSET),
    "list of texts": (["a", "b"], '["a","b"]', UNSET),
    "empty list": ([], "[]", UNSET),
    "tuple": ((1, 2), "[1,2]", UNSET),
    "named tuple": (Pair(1, 2), "[1,2]", UNSET),
    "set": ({1}, "[1]", UNSET),
    "iterator": (map(str, [1, 2]), '["1","2"]', UNSET),
    "bytes": (b"\xfb\xff", "+/8=", UNSET),
    "date": (datetime.date(2024, 1, 2), "2024-01-02", UNSET),
    "datetime": (DAY, "2024-01-02T00:00:00Z", UNSET),
    "timedelta": (datetime.timedelta(seconds=5), "PT5S", UNSET),
    "uuid": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", UNSET),
    "decimal": (decimal.Decimal("1.10"), "1.10", UNSET),
    "enum": (Colour.RED, "red", UNSET),
    "str enum": (Word.ONE, "one", UNSET),
    "dict": ({"a": [1]}, '{"a":[1]}', {"a": [1]}),
    "empty dict": ({}, "{}", {}),
    "dict with nan": ({"a": math.nan, "b": [math.inf]}, '{"a":null,"b":[null]}', {"a": None, "b": [None]}),
    "dict of all kinds": (
        {"d": DAY, "s": {1}, "u": uuid.UUID(int=1), "n": decimal.Decimal("1.5"), "p": Path("a")},
        '{"d":"2024-01-02T00:00:00Z","s":[1],"u":"00000000-0000-0000-0000-000000000001","n":"1.5","p":"a"}',
        {
            "d": "2024-01-02T00:00:00Z",
            "s": [1],
            "u": "00000000-0000-0000-0000-000000000001",
            "n": "1.5",
            "p": "a",
        },
    ),
    "keys of all kinds": (
        {1: "a", None: "b", datetime.date(2024, 1, 2): "d"},
        '{"1":"a","None":"b","2024-01-02":"d"}',
        {"1": "a", "None": "b", "2024-01-02": "d"},
    ),
    "model": (Model(), '{"x":1}', {"x": 1}),
    "dataclass": (Data(), '{"x":1}', {"x": 1}),
    "struct": (Struct(), '{"x":1}', {"x": 1}),
    "list of models": ([Model(), Data(), Struct()], '[{"x":1},{"x":1},{"x":1}]', UNSET),
    "half a surrogate pair": ("a\ud800b", "a\ufffdb", UNSET),
    "two halves": ("\ud83d\ude00", "😀", UNSET),
    "half a pair deep inside": ({"a\udc80": ["\udc80"]}, '{"a\ufffd":["\ufffd"]}', {"a\ufffd": ["\ufffd"]}),
    "half a pair in a dataclass": ([Data("\ud800")], '[{"x":"\ufffd"}]', UNSET),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("value", "text", "data"), VALUES.values(), ids=VALUES)
def test_values_without_annotation_d49(value: Any, text: str, data: Any) -> None:
    result = result_of(value)
    assert data_of(result) == data
    found = text_of(result)
    assert found == text or json.loads(found) == json.loads(text)


def test_none_is_a_result_without_content() -> None:
    result = result_of(None)
    assert result.content == []
    assert data_of(result) is UNSET


def test_structured_output_can_be_turned_off() -> None:
    result = result_of({"a": 1}, structured_output=False)
    assert (text_of(result), data_of(result)) == ('{"a":1}', UNSET)


IMAGE = ImageContent(data="AA==", mime_type="image/png")
BLOCKS = {
    "text": (TextContent(text="a"), [TextContent(text="a")]),
    "image": (IMAGE, [IMAGE]),
    "audio": (
        AudioContent(data="AA==", mime_type="audio/wav"),
        [AudioContent(data="AA==", mime_type="audio/wav")],
    ),
    "link": (ResourceLink(uri="a:b", name="n"), [ResourceLink(uri="a:b", name="n")]),
    "Image": (Image(data=b"\0"), [IMAGE]),
    "Audio": (Audio(data=b"\0"), [AudioContent(data="AA==", mime_type="audio/wav")]),
    "File": (
        File(data=b"a", mime_type="text/plain", uri="a:b"),
        [EmbeddedResource(resource=TextResourceContents(uri="a:b", mime_type="text/plain", text="a"))],
    ),
    "mixed": (
        ["look:", Image(data=b"\0"), {"a": 1}, TextContent(text="b")],
        [TextContent(text="look:"), IMAGE, TextContent(text='{"a":1}'), TextContent(text="b")],
    ),
    "tuple": ((IMAGE, "a"), [IMAGE, TextContent(text="a")]),
    "iterator": (iter([IMAGE]), [IMAGE]),
    "text that cannot be encoded": (TextContent(text="\ud800"), [TextContent(text="\ufffd")]),
    "resource that cannot be encoded": (
        EmbeddedResource(resource=TextResourceContents(uri="a:b", text="\ud800")),
        [EmbeddedResource(resource=TextResourceContents(uri="a:b", text="\ufffd"))],
    ),
    "text of the SDK": (mcp.types.TextContent(type="text", text="a"), [TextContent(text="a")]),
    "image of the SDK": (mcp.types.ImageContent(type="image", data="AA==", mimeType="image/png"), [IMAGE]),
    "link of the SDK": (
        mcp.types.ResourceLink(type="resource_link", uri="https://a.example/", name="n"),
        [ResourceLink(uri="https://a.example/", name="n")],
    ),
    "list of the SDK's": (
        [mcp.types.TextContent(type="text", text="a"), "b"],
        [TextContent(text="a"), TextContent(text="b")],
    ),
}


@pytest.mark.parametrize(("value", "expected"), BLOCKS.values(), ids=BLOCKS)
def test_content_blocks_d49(value: Any, expected: Any) -> None:
    result = result_of(value)
    assert msgspec.json.encode(result.content) == msgspec.json.encode(expected)
    assert data_of(result) is UNSET


def test_resource_of_the_sdk() -> None:
    resource = mcp.types.TextResourceContents(uri="https://a.example/", text="t", mimeType="text/plain")
    result = result_of(mcp.types.EmbeddedResource(type="resource", resource=resource))
    assert result.content[0].resource.text == "t"


ANNOTATIONS = {
    "block": TextContent,
    "Image": Image,
    "list of blocks": list[TextContent | ImageContent],
    "union with text": str | Image,
    "SDK": mcp.types.TextContent,
    "list of the SDK's": list[mcp.types.TextContent],
    "ToolResult": ToolResult,
    "optional ToolResult": ToolResult | None,
    "our result": CallToolResult,
    "result of the SDK": mcp.types.CallToolResult,
    "None": None,
    "any": Any,
    "object": object,
}


@pytest.mark.parametrize("returns", ANNOTATIONS.values(), ids=ANNOTATIONS)
def test_content_and_undeclared_data_have_no_output_schema(returns: Any) -> None:
    from support.servers.tools_in_process import make

    def give() -> Any: ...

    give.__annotations__["return"] = returns
    assert make(give).definition.output_schema is UNSET
    with pytest.raises(TypeError, match="structured_output=True needs a return annotation"):
        make(give, structured_output=True)


def test_tool_result_says_everything() -> None:
    result = result_of(
        ToolResult(
            content=["a", Image(data=b"\0")], structured_content={"d": DAY}, is_error=True, meta={"k": DAY}
        )
    )
    assert result.content == [TextContent(text="a"), IMAGE]
    assert data_of(result) == {"d": "2024-01-02T00:00:00Z"}
    assert result.is_error is True
    assert result.meta == {"k": "2024-01-02T00:00:00Z"}


def test_structured_content_alone_is_the_text_too_r503() -> None:
    result = result_of(ToolResult(structured_content={"a": math.nan}))
    assert (text_of(result), data_of(result)) == ('{"a":null}', {"a": None})
    assert result_of(ToolResult()).content == []


def test_result_of_the_sdk() -> None:
    result = result_of(
        mcp.types.CallToolResult(
            content=[mcp.types.TextContent(type="text", text="a")], structuredContent={"a": 1}, isError=True
        )
    )
    assert (text_of(result), data_of(result), result.is_error) == ("a", {"a": 1}, True)


def test_our_own_result_goes_through() -> None:
    result = result_of(
        CallToolResult(content=[TextContent(text="a")], structured_content={"a": {1}}, meta={"k": 1})
    )
    assert (text_of(result), data_of(result), result.meta) == ("a", {"a": [1]}, {"k": 1})


class Weird:
    def __repr__(self) -> str:
        return "<my password>"


LOOP: list[Any] = []
LOOP.append(LOOP)
DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]

UNSENDABLE = {
    "object": (Weird(), "an object of type Weird"),
    "object deep inside": ({"a": [Weird()]}, "an object of type Weird"),
    "object in a list of blocks": ([IMAGE, Weird()], "an object of type Weird"),
    "key": ({Weird(): 1}, "an object of type Weird"),
    "loop": (LOOP, "it refers to itself"),
    "too deep": (DEEP, "it is nested too deeply"),
    "block of the SDK that no tool returns": (
        mcp.types.Implementation(name="a", version="1"),
        "no content block",
    ),
    "structured content": (ToolResult(structured_content={"a": Weird()}), "an object of type Weird"),
}


@pytest.mark.parametrize(("value", "message"), UNSENDABLE.values(), ids=UNSENDABLE)
def test_what_cannot_be_sent_is_a_clear_error_without_the_value_d49_d33(value: Any, message: str) -> None:
    with pytest.raises(ReturnedValueError, match=message) as caught:
        result_of(value)
    assert isinstance(caught.value, ToolError)
    assert "password" not in str(caught.value)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=5)
    | st.datetimes()
    | st.decimals()
    | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(ANYTHING)
def test_every_plain_value_makes_a_result_that_is_json_d49(value: Any) -> None:
    assert "content" in json.loads(msgspec.json.encode(result_of(value)))


def test_tool_error_carries_meta() -> None:
    error = ToolError("no", meta={"retry": 1})
    assert (str(error), error.message, error.meta) == ("no", "no", {"retry": 1})
    assert ToolError("no").meta is None


@pytest.mark.parametrize("empty", [[], ()])
def test_an_empty_list_of_content_is_none(empty: Any) -> None:
    """It is no value to be written as text; with structured content there is nothing but that."""
    assert result_of(ToolResult(content=empty)).content == []
    both = result_of(ToolResult(content=empty, structured_content={"a": 1}))
    assert both.content == []
    assert bytes(both.structured_content) == b'{"a":1}'
    assert result_of(both).content == []
    assert text_of(result_of(ToolResult(structured_content={"a": 1}))) == '{"a":1}'
