"""Resources: definitions, values of templates, and what functions may return (R-520 ff)."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import mcp_types
import msgspec
import pytest
from msgspec import UNSET

from enfilade.primitives.errors import ArgumentsError, ReturnedValueError, ToolError
from enfilade.primitives.resource import (
    Resource,
    ResourceTemplate,
    resource_from_function,
    template_from_function,
)
from enfilade.primitives.values.media import Audio, File, Image
from enfilade.primitives.values.results import read_result
from enfilade.wire.content import (
    AudioContent,
    BlobResourceContents,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from enfilade.wire.resources import ReadResourceResult
from support.servers.tools_in_process import CONTEXT, Context

URI = "a://b"
PNG = b"\x89PNG\r\n\x1a\n"


def resource(fn: Callable[..., Any], uri: str = URI, **options: Any) -> Resource:
    return resource_from_function(fn, uri, context_type=Context, **options)


def template(fn: Callable[..., Any], uri: str, **options: Any) -> ResourceTemplate:
    return template_from_function(fn, uri, context_type=Context, **options)


def received(made: ResourceTemplate, uri: str) -> Any:
    """Return what the function gives for a URI."""
    values = made.match(uri)
    assert values is not None, f"{uri} does not match"
    return made.handler.call(made.bind(values, CONTEXT))


def test_the_definition_of_a_resource() -> None:
    def config() -> str:
        """All settings."""
        return ""

    made = resource(
        config,
        "config://app",
        title="Settings",
        size=12,
        annotations={"audience": ["user"], "priority": 0.5, "lastModified": "2026-01-01T00:00:00Z"},
        icons=["https://example.org/i.png"],
        meta={"example.org/x": 1},
    )
    assert msgspec.to_builtins(made.definition) == {
        "uri": "config://app",
        "name": "config",
        "title": "Settings",
        "description": "All settings.",
        "mimeType": "text/plain",
        "size": 12,
        "annotations": {"audience": ["user"], "priority": 0.5, "lastModified": "2026-01-01T00:00:00Z"},
        "icons": [{"src": "https://example.org/i.png"}],
        "_meta": {"example.org/x": 1},
    }
    assert "config" in made.origin


def test_the_definition_of_a_template() -> None:
    def weather(city: str, ctx: Context, day: date | None = None) -> dict[str, str]:
        """The weather of a day."""
        return {}

    made = template(weather, "weather://{city}{?day}", name="forecast")
    assert msgspec.to_builtins(made.definition) == {
        "uriTemplate": "weather://{city}{?day}",
        "name": "forecast",
        "description": "The weather of a day.",
        "mimeType": "application/json",
    }
    assert made.arguments == ("city", "day")
    assert made.handler.needs_context


@dataclass
class Point:
    x: int


def gives(returns: Any) -> Callable[[], Any]:
    def give() -> Any:
        return None

    give.__annotations__["return"] = returns
    return give


@pytest.mark.parametrize(
    ("returns", "uri", "mime_type"),
    [
        (str, URI, "text/plain"),
        (Annotated[str, "text"], URI, "text/plain"),
        (str, "a://b/readme.md", "text/markdown"),
        (bytes, "a://b/x.png", "image/png"),
        (bytes, URI, UNSET),
        (dict[str, int], URI, "application/json"),
        (list[int], URI, "application/json"),
        (Point, URI, "application/json"),
        (list[TextResourceContents], URI, UNSET),
        (Image, URI, UNSET),
        (Any, URI, UNSET),
        (str | bytes, URI, UNSET),
    ],
)
def test_media_types_are_guessed(returns: Any, uri: str, mime_type: Any) -> None:
    assert resource(gives(returns), uri).definition.mime_type == mime_type
    assert resource(gives(returns), uri, mime_type="x/y").definition.mime_type == "x/y"


def one(a: str) -> str:
    """Take one value."""
    return a


def two(a: str, b: int) -> str:
    """Take two values."""
    return f"{a}{b}"


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a resource with a parameter": (lambda: resource(one), 'parameter "a": the URI "a://b" has no place for it'),
    "a hint at the template": (lambda: resource(one), '"a://b/{a}"'),
    "variable without parameter": (lambda: template(one, "a://{a}/{b}"), 'no parameter for "b"'),
    "parameter without variable": (lambda: template(two, "a://{a}"), 'parameter "b": "a://{a}" has no place'),
    "no URI": (lambda: resource(gives(str), "config"), "needs a scheme"),
    "no template": (lambda: template(one, "a://{a"), "braces do not match"),
    "priority": (lambda: resource(gives(str), annotations={"priority": 2}), "priority is from 0 to 1"),
    "unknown annotation": (lambda: resource(gives(str), annotations={"prio": 1}), "has no member 'prio'"),
    "icon": (lambda: resource(gives(str), icons=["http://x/i.png"]), "https or data URI"),
    "meta": (lambda: resource(gives(str), meta={"x": object()}), "cannot be written as JSON"),
    "completion": (lambda: template(one, "a://{a}", complete={"b": []}), 'no argument "b" to complete'),
}


@pytest.mark.parametrize(("make", "why"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_registered_is_explained(make: Callable[[], object], why: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert why in str(caught.value)


def test_a_parameter_with_a_default_needs_no_variable() -> None:
    def read(a: str, limit: int = 10) -> str:
        return f"{a} {limit}"

    assert received(template(read, "a://{a}"), "a://x") == "x 10"


class Color(Enum):
    RED = "red"
    TWO = 2


def everything(
    text: str,
    number: int = 0,
    flag: bool = False,
    day: date | None = None,
    color: Color = Color.RED,
    size: Literal[1, 2] = 1,
    items: list[int] | None = None,
) -> list[Any]:
    """Take a value of each kind."""
    return [text, number, flag, day, color, size, items]


VALUES = {
    "text": ("x", 0, ["x", 0, False, None, Color.RED, 1, None]),
    "decoded": ("a%20b%2Fc", 0, ["a b/c", 0, False, None, Color.RED, 1, None]),
    "a number stays text": ("5", 0, ["5", 0, False, None, Color.RED, 1, None]),
    "number": ("x?number=5", 1, 5),
    "bool": ("x?flag=true", 2, True),
    "date": ("x?day=2026-03-01", 3, date(2026, 3, 1)),
    "enum by text": ("x?color=red", 4, Color.RED),
    "enum by number": ("x?color=2", 4, Color.TWO),
    "literal": ("x?size=2", 5, 2),
    "list": ("x?items=1,2", 6, [1, 2]),
    "exploded": ("x?items=1&items=2", 6, [1, 2]),
}


@pytest.mark.parametrize(("tail", "position", "expected"), VALUES.values(), ids=VALUES)
def test_values_arrive_as_their_types_say(tail: str, position: int, expected: Any) -> None:
    made = template(everything, "a://{text}{?number,flag,day,color,size,items*}")
    found = received(made, f"a://{tail}")
    assert found == expected if isinstance(expected, list) and "?" not in tail else found[position] == expected


def test_a_list_is_parted_before_it_is_decoded() -> None:
    def join(parts: list[str]) -> list[str]:
        return parts

    assert received(template(join, "a://{parts}"), "a://x%2Cy,z") == ["x,y", "z"]
    assert received(template(join, "a://{parts*}"), "a://x/y,z%2Fw") == ["x", "y", "z/w"]
    assert received(template(join, "a://b{/parts*}"), "a://b/x/y") == ["x", "y"]
    assert received(template(join, "a://b{/parts*}"), "a://b") == []


def test_explosion_into_text_keeps_the_slashes() -> None:
    assert received(template(one, "a://{a*}"), "a://x/y%20z") == "x/y z"


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("a://x?number=many", '"number" should be integer, got string "many"'),
        ("a://x?color=blue", '"color" should be "red" or 2, got string "blue"'),
        ("a://x?items=1,b", '"items[1]" should be integer, got string "b"'),
    ],
)
def test_a_value_of_another_type_is_explained(uri: str, why: str) -> None:
    made = template(everything, "a://{text}{?number,flag,day,color,size,items*}")
    with pytest.raises(ArgumentsError) as caught:
        received(made, uri)
    assert why in str(caught.value)


def test_a_missing_value_is_explained() -> None:
    with pytest.raises(ArgumentsError, match=r'"b" is missing \(expected integer\)'):
        received(template(two, "a://{a}{?b}"), "a://x")


@pytest.mark.parametrize("tail", ["..", "%2e%2e", "x%2F..%2Fy", "%2Fetc%2Fpasswd", "..%5Cx", "C:%5Cx"])
def test_a_value_that_leads_out_is_refused(tail: str) -> None:
    """R-520."""
    with pytest.raises(ArgumentsError, match='"a" may hold neither'):
        received(template(one, "a://{a}"), f"a://{tail}")


@pytest.mark.parametrize("uri", ["a://x/../y", "a://x/%2e%2e/y", "a:///etc/passwd"])
def test_a_path_that_leads_out_is_refused(uri: str) -> None:
    """R-520."""
    with pytest.raises(ArgumentsError, match='"a" may hold neither'):
        received(template(one, "a://{+a}"), uri)


def test_an_item_that_leads_out_is_refused() -> None:
    def join(parts: list[str]) -> list[str]:
        return parts

    with pytest.raises(ArgumentsError, match='"parts" may hold neither'):
        received(template(join, "a://{parts*}"), "a://x/../y")


def test_verbatim_values_are_the_authors_business() -> None:
    assert received(template(one, "a://{+a}", verbatim=["a"]), "a://../x") == "../x"


def test_verbatim_names_may_come_from_a_generator() -> None:
    assert received(template(one, "a://{+a}", verbatim=(name for name in "a")), "a://../x") == "../x"


@pytest.mark.parametrize("tail", ["%ff", "x%00"])
def test_a_value_that_is_no_text_does_not_match(tail: str) -> None:
    assert template(one, "a://{a}").match(f"a://{tail}") is None


def blob(data: bytes, mime_type: str, uri: str = URI) -> BlobResourceContents:
    return BlobResourceContents(uri=uri, mime_type=mime_type, blob=base64.b64encode(data).decode())


def text(value: str, mime_type: str, uri: str = URI) -> TextResourceContents:
    return TextResourceContents(uri=uri, mime_type=mime_type, text=value)


OWN = TextResourceContents(uri="a://own", text="mine")
RETURNED: dict[str, tuple[Any, list[Any]]] = {
    "text": ("hello", [text("hello", "text/plain")]),
    "half a surrogate": ("\ud800", [text("�", "text/plain")]),
    "bytes": (b"\x00\x01", [blob(b"\x00\x01", "application/octet-stream")]),
    "bytes with a signature": (PNG, [blob(PNG, "image/png")]),
    "bytearray": (bytearray(b"x"), [blob(b"x", "application/octet-stream")]),
    "dict": ({"a": date(2026, 1, 1)}, [text('{"a":"2026-01-01"}', "application/json")]),
    "list": (["a", "b"], [text('["a","b"]', "application/json")]),
    "empty list": ([], [text("[]", "application/json")]),
    "generator": ((each for each in "ab"), [text('["a","b"]', "application/json")]),
    "dataclass": (Point(1), [text('{"x":1}', "application/json")]),
    "number": (5, [text("5", "application/json")]),
    "contents": (OWN, [OWN]),
    "several contents": (
        [OWN, "x", b"y"],
        [OWN, text("x", "text/plain"), blob(b"y", "application/octet-stream")],
    ),
    "embedded": (EmbeddedResource(resource=OWN), [OWN]),
    "image": (Image(data=PNG), [blob(PNG, "image/png")]),
    "audio": (Audio(data=b"x", format="mp3"), [blob(b"x", "audio/mpeg")]),
    "file": (File(data=b"# x", name="x.md", format="md"), [text("# x", "text/markdown")]),
    "file with a URI": (File(data=b"x", format="txt", uri="a://f"), [text("x", "text/plain", "a://f")]),
    "text block": (TextContent(text="x"), [text("x", "text/plain")]),
    "image block": (ImageContent(data="eA==", mime_type="image/gif"), [blob(b"x", "image/gif")]),
    "audio block": (AudioContent(data="eA==", mime_type="audio/ogg"), [blob(b"x", "audio/ogg")]),
    "result": (ReadResourceResult(contents=[OWN]), [OWN]),
    "SDK contents": (mcp_types.TextResourceContents(uri="a://own", text="mine"), [OWN]),
    "SDK blob": (
        [mcp_types.BlobResourceContents(uri=URI, mime_type="x/y", blob="eA==")],
        [blob(b"x", "x/y")],
    ),
    "SDK block": (mcp_types.TextContent(type="text", text="x"), [text("x", "text/plain")]),
    "SDK result": (
        mcp_types.ReadResourceResult(contents=[mcp_types.TextResourceContents(uri="a://own", text="mine")]),
        [OWN],
    ),
}


@pytest.mark.parametrize(("value", "contents"), RETURNED.values(), ids=RETURNED)
def test_what_a_function_may_return(value: Any, contents: list[Any]) -> None:
    """R-520, R-522."""
    found = read_result(value, URI, None).contents
    assert msgspec.to_builtins(found) == msgspec.to_builtins(contents)


@pytest.mark.parametrize(("value", "key"), [("x", "text"), (b"x", "blob"), ({"a": 1}, "text")])
def test_the_authors_media_type_holds(value: Any, key: str) -> None:
    (contents,) = read_result(value, URI, "x/y").contents
    assert contents.mime_type == "x/y"
    assert getattr(contents, key) is not UNSET


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "raise ResourceNotFound"),
        (object(), "cannot hold an object of type object"),
        (mcp_types.ResourceLink(type="resource_link", uri="a://b", name="b"), "It returned a ResourceLink"),
    ],
)
def test_what_a_function_may_not_return(value: Any, why: str) -> None:
    """R-523: never empty contents."""
    with pytest.raises(ReturnedValueError) as caught:
        read_result(value, URI, None)
    assert why in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"The file gone\.png cannot be read"):
        read_result(Image(tmp_path / "gone.png"), URI, None)
