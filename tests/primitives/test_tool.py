"""`tool.py` and `metadata.py`: the definition as a whole, and what cannot be in it (R-511, R-560)."""

from typing import Any

import msgspec
import pytest

from enfilade.primitives.tool import Tool
from enfilade.wire.content import Icon
from enfilade.wire.tools import ToolAnnotations
from support.servers.tools_in_process import CONTEXT, Context, make, received


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first
        b: the second
    """
    return a + b


def test_definition_as_clients_read_it() -> None:
    tool = make(
        add,
        name="sum.up",
        title="Sum",
        annotations={"readOnlyHint": True, "idempotent_hint": True},
        icons=["https://a.example/i.png", {"src": "data:image/png;base64,AA==", "mimeType": "image/png"}],
        meta={"a.example/x": 1},
    )
    assert msgspec.to_builtins(tool.definition) == {
        "name": "sum.up",
        "title": "Sum",
        "description": "Add two numbers.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "description": "the first"},
                "b": {"type": "integer", "description": "the second"},
            },
            "additionalProperties": False,
            "required": ["a", "b"],
        },
        "outputSchema": {"type": "object", "properties": {"result": {"type": "integer"}}, "required": ["result"]},
        "annotations": {"readOnlyHint": True, "idempotentHint": True},
        "icons": [
            {"src": "https://a.example/i.png"},
            {"src": "data:image/png;base64,AA==", "mimeType": "image/png"},
        ],
        "_meta": {"a.example/x": 1},
    }
    assert tool.origin.startswith(f"{__name__}:add (test_tool.py:")


def test_nothing_is_published_that_nobody_said() -> None:
    def fn(): ...

    assert set(msgspec.to_builtins(make(fn).definition)) == {"name", "inputSchema"}


def test_a_tool_is_immutable() -> None:
    tool = make(add)
    with pytest.raises(AttributeError, match="immutable"):
        tool.name = "other"  # type: ignore[misc]
    assert not hasattr(tool, "__dict__")
    assert isinstance(tool, Tool)
    assert {tool: 1}[tool] == 1


def test_ready_made_annotations_and_icons() -> None:
    hints, icon = ToolAnnotations(title="T"), Icon(src="https://a.example/i.svg")
    definition = make(add, annotations=hints, icons=[icon]).definition
    assert definition.annotations == hints
    assert definition.icons == [icon]


WRONG = {
    "name": ({"name": "a b"}, "contains ' '"),
    "unknown hint": (
        {"annotations": {"readonly": True}},
        "annotations has no member 'readonly'; it has: title, read_only",
    ),
    "hint that is no boolean": ({"annotations": {"readOnlyHint": "yes"}}, "annotations: Expected `bool"),
    "http icon": ({"icons": ["http://a.example/i.png"]}, "has to be an https or data URI"),
    "file icon": ({"icons": [{"src": "file:///i.png"}]}, "has to be an https or data URI"),
    "script icon": ({"icons": ["javascript:alert(1)"]}, "has to be an https or data URI"),
    "icon theme": ({"icons": [{"src": "data:,", "theme": "red"}]}, "icon: Invalid enum value 'red'"),
    "icon member": ({"icons": [{"url": "data:,"}]}, "icon has no member 'url'"),
    "icons as text": ({"icons": "https://a.example/i.png"}, "icons is a list"),
    "meta that is no JSON": ({"meta": {"a": object()}}, r"add\(\): its definition cannot be written as JSON"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_refused_r560(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(add, **options)


def test_bound_values_can_be_looked_at_and_used_twice() -> None:
    def fn(a: int, /, ctx: Context, *, b: int = 2) -> Any:
        return a, b, ctx

    tool = make(fn)
    bound = tool.bind(b'{"a":1}', CONTEXT)
    assert bound == {"a": 1, "b": 2, "ctx": CONTEXT}
    assert tool.call(bound) == tool.call(bound) == (1, 2, CONTEXT)


def test_an_exception_of_the_function_is_its_own() -> None:
    def fn() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        received(make(fn))
