"""`prompt.py` and `messages.py`: arguments that come as strings, and what functions may return (R-530)."""

from collections.abc import Callable
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import mcp_types
import msgspec
import pytest
from mcp.server.mcpserver.prompts import base as sdk
from msgspec import UNSET
from pydantic import BaseModel, Field

from enfilade.primitives.errors import ArgumentsError, ReturnedValueError
from enfilade.primitives.prompt import (
    AssistantMessage,
    Message,
    Prompt,
    PromptResult,
    UserMessage,
    prompt_from_function,
    prompt_result,
)
from enfilade.primitives.values.media import Audio, File, Image
from enfilade.wire.content import EmbeddedResource, ResourceLink, TextContent, TextResourceContents
from enfilade.wire.prompts import GetPromptResult, PromptMessage
from support.servers.tools_in_process import CONTEXT, Context

PNG = b"\x89PNG\r\n\x1a\n"


def make(fn: Callable[..., Any], **options: Any) -> Prompt:
    return prompt_from_function(fn, context_type=Context, **options)


def received(prompt: Prompt, **arguments: str) -> Any:
    """Return what the function gives for arguments."""
    return prompt.handler.call(prompt.bind(arguments, CONTEXT))


def test_the_definition() -> None:
    def review(
        code: str,
        ctx: Context,
        strict: Annotated[bool, "Whether to be strict"] = False,
        tags: Annotated[list[str] | None, Field(title="The tags")] = None,
    ) -> str:
        """Review code.

        Args:
            code: What to review.
            tags: What it is about.
        """
        return ""

    made = make(review, title="Review", icons=["data:image/png;base64,AA=="], meta={"a": 1})
    assert msgspec.to_builtins(made.definition) == {
        "name": "review",
        "title": "Review",
        "description": "Review code.",
        "arguments": [
            {"name": "code", "description": "What to review.", "required": True},
            {"name": "strict", "description": "Whether to be strict", "required": False},
            {
                "name": "tags",
                "title": "The tags",
                "description": "What it is about. (as JSON: array of string or null)",
                "required": False,
            },
        ],
        "icons": [{"src": "data:image/png;base64,AA=="}],
        "_meta": {"a": 1},
    }
    assert "review" in made.origin


def test_without_arguments_there_is_no_list_of_them() -> None:
    assert make(lambda: "x", name="plain").definition.arguments is UNSET


class Color(Enum):
    RED = "red"
    TWO = 2


class Place(BaseModel):
    city: str
    zip: int = 0


TYPES: dict[str, tuple[Any, str, Any]] = {
    "text": (str, "5", "5"),
    "text that is JSON": (str, '{"a":1}', '{"a":1}'),
    "empty text": (str, "", ""),
    "integer": (int, "5", 5),
    "number": (float, "1.5", 1.5),
    "bool": (bool, "true", True),
    "yes": (bool, "yes", True),
    "date": (date, "2026-03-01", date(2026, 3, 1)),
    "enum by text": (Color, "red", Color.RED),
    "enum by number": (Color, "2", Color.TWO),
    "literal text": (Literal["a", "b"], "b", "b"),
    "literal number": (Literal[1, 2], "2", 2),
    "union keeps text": (int | str, "5", "5"),
    "null": (int | None, "null", None),
    "list": (list[int], "[1, 2]", [1, 2]),
    "list of text": (list[str], '["1"]', ["1"]),
    "object": (dict[str, int], '{"a": 1}', {"a": 1}),
    "model": (Place, '{"city": "Riga"}', Place(city="Riga")),
    "anything": (Any, "[1]", "[1]"),
}


@pytest.mark.parametrize(("kind", "string", "value"), TYPES.values(), ids=TYPES)
def test_strings_become_what_the_parameter_is(kind: Any, string: str, value: Any) -> None:
    def take(it: Any) -> Any:
        return it

    take.__annotations__["it"] = kind
    assert received(make(take), it=string) == value


def order(
    dish: str, count: Annotated[int, Field(ge=1)], size: Literal["s", "l"] = "s", to: Place | None = None
) -> str:
    """Order a dish."""
    return f"{count} {dish} {size} {to}"


WRONG = {
    "missing": ({"dish": "soup"}, '"count" is missing (expected integer)'),
    "all missing": ({}, '"dish" is missing (expected string); "count" is missing (expected integer)'),
    "unknown": (
        {"dish": "x", "count": "1", "sise": "l"},
        '"sise" is not an argument of this prompt (did you mean "size"?)',
    ),
    "no number": ({"dish": "x", "count": "two"}, '"count" should be integer, got string "two"'),
    "too small": ({"dish": "x", "count": "0"}, '"count" should be at least 1, got string "0"'),
    "no choice": ({"dish": "x", "count": "1", "size": "m"}, '"size" should be "s" or "l", got string "m"'),
    "no JSON": ({"dish": "x", "count": "1", "to": "{"}, '"to" should be'),
    "wrong inside": ({"dish": "x", "count": "1", "to": '{"zip": 1}'}, '"to'),
    "NaN": ({"dish": "x", "count": "NaN"}, '"count" should be integer'),
}


@pytest.mark.parametrize(("arguments", "why"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_named(arguments: dict[str, str], why: str) -> None:
    """R-530."""
    with pytest.raises(ArgumentsError) as caught:
        make(order).bind(arguments, CONTEXT)
    assert str(caught.value).startswith('Invalid arguments for prompt "order": ')
    assert why in str(caught.value)


def test_the_context_is_no_argument() -> None:
    def ask(name: str, /, ctx: Context) -> Any:
        return name, ctx

    made = make(ask)
    assert made.arguments == ("name",)
    assert received(made, name="Ada") == ("Ada", CONTEXT)


@pytest.mark.parametrize(
    ("name", "why"),
    [("", "it is empty"), (" ", "it is empty"), ("a\nb", "printed"), ("x" * 129, "129 characters, and 128")],
)
def test_names_that_cannot_be_shown(name: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        make(order, name=name)
    assert why in str(caught.value)


def test_any_other_name_is_fine() -> None:
    assert make(order, name="Essen bestellen – für Gäste").name == "Essen bestellen – für Gäste"


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(ValueError, match="give it one with name="):
        make(lambda: "x")


def user(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": {"type": "text", "text": each}} for each in texts]


def said(role: str, **content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


EMBEDDED = EmbeddedResource(resource=TextResourceContents(uri="a://b", text="x"))
RETURNED: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "text": ("hello", user("hello")),
    "several texts": (["a", "b"], user("a", "b")),
    "tuple": (("a", "b"), user("a", "b")),
    "generator": ((each for each in "ab"), user("a", "b")),
    "no messages": ([], []),
    "half a surrogate": ("\ud800", user("�")),
    "data": ({"a": 1}, user('{"a":1}')),
    "user": (UserMessage("a"), user("a")),
    "assistant": (AssistantMessage("a"), [said("assistant", type="text", text="a")]),
    "role by name": (Message("a", "assistant"), [said("assistant", type="text", text="a")]),
    "several blocks of one role": (
        AssistantMessage(["a", TextContent(text="b")]),
        [said("assistant", type="text", text="a"), said("assistant", type="text", text="b")],
    ),
    "block": (TextContent(text="a"), user("a")),
    "image": (Image(data=PNG), [said("user", type="image", data="iVBORw0KGgo=", mimeType="image/png")]),
    "audio": (Audio(data=b"x"), [said("user", type="audio", data="eA==", mimeType="audio/wav")]),
    "file": (
        File(data=b"x", format="txt", uri="a://f"),
        [said("user", type="resource", resource={"uri": "a://f", "mimeType": "text/plain", "text": "x"})],
    ),
    "embedded": (
        ["look:", EMBEDDED],
        [*user("look:"), said("user", type="resource", resource={"uri": "a://b", "text": "x"})],
    ),
    "link": (ResourceLink(uri="a://b", name="b"), [said("user", type="resource_link", uri="a://b", name="b")]),
    "message": (
        PromptMessage(role="assistant", content=TextContent(text="a")),
        [said("assistant", type="text", text="a")],
    ),
    "dict": ({"role": "assistant", "content": "a"}, [said("assistant", type="text", text="a")]),
    "dict with a block": ({"role": "user", "content": {"type": "text", "text": "a"}}, user("a")),
    "dict with blocks": ({"role": "user", "content": ["a", {"type": "text", "text": "b"}]}, user("a", "b")),
    "SDK message": (
        mcp_types.PromptMessage(role="assistant", content=mcp_types.TextContent(type="text", text="a")),
        [said("assistant", type="text", text="a")],
    ),
    "SDK helper": (sdk.AssistantMessage("a"), [said("assistant", type="text", text="a")]),
    "SDK block": (mcp_types.TextContent(type="text", text="a"), user("a")),
    "SDK result": (
        mcp_types.GetPromptResult(
            messages=[mcp_types.PromptMessage(role="user", content=mcp_types.TextContent(type="text", text="a"))]
        ),
        user("a"),
    ),
    "result": (GetPromptResult(messages=[PromptMessage(role="user", content=TextContent(text="a"))]), user("a")),
    "our result": (
        PromptResult(["a", AssistantMessage("b")]),
        [*user("a"), said("assistant", type="text", text="b")],
    ),
}


@pytest.mark.parametrize(("value", "messages"), RETURNED.values(), ids=RETURNED)
def test_what_a_function_may_return(value: Any, messages: list[dict[str, Any]]) -> None:
    """R-530: each message has a role and one block."""
    assert msgspec.to_builtins(prompt_result(value, None))["messages"] == messages


def test_the_description_of_a_result() -> None:
    assert prompt_result("a", "of the definition").description == "of the definition"
    own = prompt_result(PromptResult("a", description="its own", meta={"x": 1}), "of the definition")
    assert (own.description, own.meta) == ("its own", {"x": 1})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "nothing where messages are due"),
        ({"role": "system", "content": "a"}, "a role that is none"),
        ({"role": "user", "content": {"type": "video"}}, "a content block that is none"),
        (UserMessage(object()), "cannot hold an object of type object"),
    ],
)
def test_what_a_function_may_not_return(value: Any, why: str) -> None:
    with pytest.raises(ReturnedValueError) as caught:
        prompt_result(value, None)
    assert why in str(caught.value)
