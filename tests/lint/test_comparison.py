"""What breaks clients, and what does not: a table of changes, each in its direction."""

from typing import Any

import pytest

from enfilade.client.surface import Surface
from enfilade.lint.snapshot import compare


def taking(part: dict[str, Any] | None, required: bool = False, **more: Any) -> Surface:
    """Return the surface with one tool that takes an argument `a`."""
    schema: dict[str, Any] = {"type": "object", "properties": {} if part is None else {"a": part}, **more}
    if required:
        schema["required"] = ["a"]
    return Surface(tools=[{"name": "add", "inputSchema": schema}])


def giving(part: dict[str, Any] | None, required: bool = False) -> Surface:
    """Return the surface with one tool that returns a property `r`."""
    schema: dict[str, Any] = {"type": "object", "properties": {} if part is None else {"r": part}}
    if required:
        schema["required"] = ["r"]
    return Surface(tools=[{"name": "add", "inputSchema": {"type": "object"}, "outputSchema": schema}])


def asking(**arguments: bool) -> Surface:
    listed = [{"name": name, "required": required} for name, required in arguments.items()]
    return Surface(prompts=[{"name": "greet", "arguments": listed}])


INT, NUM, STR = {"type": "integer"}, {"type": "number"}, {"type": "string"}
MAYBE = {"anyOf": [STR, {"type": "null"}]}
RED, RED_GREEN = {"enum": ["red"]}, {"enum": ["red", "green"]}
TITLED = {"oneOf": [{"const": "red", "title": "Red"}, {"const": "green", "title": "Green"}]}
NO_TOOL = Surface(tools=[{"name": "other", "inputSchema": {"type": "object"}}])
BARE = Surface(tools=[{"name": "add", "inputSchema": {"type": "object"}}])

BREAKING: dict[str, tuple[Surface, Surface, str, str]] = {
    "a tool is gone": (taking(INT), Surface(), "tool add", "was removed"),
    "a prompt is gone": (asking(), Surface(), "prompt greet", "was removed"),
    "a resource is gone": (Surface(resources=[{"uri": "a://b"}]), Surface(), "resource a://b", "was removed"),
    "a template is gone": (
        Surface(templates=[{"uriTemplate": "a://{b}"}]),
        Surface(),
        "template a://{b}",
        "removed",
    ),
    "a capability is gone": (
        Surface(capabilities={"logging": {}}),
        Surface(),
        "server",
        "the capability logging",
    ),
    "another type of contents": (
        Surface(resources=[{"uri": "a://b", "mimeType": "text/plain"}]),
        Surface(resources=[{"uri": "a://b", "mimeType": "text/html"}]),
        "resource a://b",
        "mimeType 'text/html' instead of 'text/plain'",
    ),
    "a new argument is required": (taking(None), taking(INT, True), "tool add, argument a", "new and required"),
    "an argument becomes required": (taking(INT), taking(INT, True), "tool add, argument a", "required now"),
    "an argument is gone": (taking(INT), taking(None), "tool add, argument a", "was removed"),
    "an argument is narrower": (taking(NUM), taking(INT), "tool add, argument a", "integer instead of number"),
    "an argument is no longer null": (taking(MAYBE), taking(STR), "tool add, argument a", "string instead of"),
    "any value becomes a type": (taking({}), taking(INT), "tool add, argument a", "integer instead of any"),
    "an argument's value is gone": (
        taking(RED_GREEN),
        taking(RED),
        "tool add, argument a",
        "no longer has the value 'green'",
    ),
    "a titled value is gone": (
        taking(TITLED),
        taking(RED),
        "tool add, argument a",
        "no longer has the value 'green'",
    ),
    "text becomes a choice": (
        taking(STR),
        taking({"type": "string", **RED}),
        "tool add, argument a",
        "one of a list",
    ),
    "a bound is tighter": (taking({**INT, "maximum": 9}), taking({**INT, "maximum": 8}), "tool add", "maximum 8"),
    "a new bound": (
        taking(STR),
        taking({**STR, "minLength": 1}),
        "tool add, argument a",
        "minLength 1 instead of none",
    ),
    "a new pattern": (taking(STR), taking({**STR, "pattern": "^a"}), "tool add, argument a", "pattern '^a'"),
    "closed to other arguments": (taking(INT), taking(INT, additionalProperties=False), "tool add", "no longer"),
    "items are narrower": (
        taking({"type": "array", "items": NUM}),
        taking({"type": "array", "items": INT}),
        "tool add, argument a, items",
        "integer instead of number",
    ),
    "behind a reference": (
        taking({"$ref": "#/$defs/A"}, **{"$defs": {"A": {"type": "object", "properties": {"x": INT}}}}),
        taking({"$ref": "#/$defs/A"}, **{"$defs": {"A": {"type": "object", "properties": {}}}}),
        "tool add, argument a, property x",
        "was removed",
    ),
    "a result has no structure": (giving(INT), BARE, "tool add, result", "no longer has a structure"),
    "a result's property is gone": (giving(INT), giving(None), "tool add, result, property r", "was removed"),
    "a result may be left out": (
        giving(INT, True),
        giving(INT),
        "tool add, result, property r",
        "is optional now",
    ),
    "a result is wider": (giving(STR), giving(MAYBE), "tool add, result, property r", "null | string instead of"),
    "a prompt's argument is gone": (asking(a=False), asking(), "prompt greet, argument a", "was removed"),
    "a prompt wants more": (asking(), asking(a=True), "prompt greet, argument a", "new and required"),
    "a prompt insists": (asking(a=False), asking(a=True), "prompt greet, argument a", "required now"),
}

HARMLESS: dict[str, tuple[Surface, Surface]] = {
    "a new tool": (Surface(), NO_TOOL),
    "a new optional argument": (taking(None), taking(INT)),
    "an argument becomes optional": (taking(INT, True), taking(INT)),
    "an argument is wider": (taking(INT), taking(NUM)),
    "an argument may be null": (taking(STR), taking(MAYBE)),
    "a type becomes any value": (taking(INT), taking({})),
    "a new value": (taking(RED), taking(RED_GREEN)),
    "a bound is looser": (taking({**INT, "minimum": 2}), taking({**INT, "minimum": 1})),
    "a bound is gone": (taking({**INT, "minimum": 2}), taking(INT)),
    "another default": (taking({**INT, "default": 1}), taking({**INT, "default": 2})),
    "another description": (taking({**INT, "description": "x"}), taking({**INT, "description": "y"})),
    "choices get titles": (taking(RED_GREEN), taking(TITLED)),
    "a result is narrower": (giving(MAYBE), giving(STR)),
    "a result has a value less": (giving(RED_GREEN), giving(RED)),
    "a result has more": (giving(None), giving(INT, True)),
    "a result is structured": (BARE, giving(INT)),
    "a prompt may take more": (asking(), asking(a=False)),
}


@pytest.mark.parametrize("case", BREAKING)
def test_what_breaks_clients_is_named(case: str) -> None:
    old, new, where, said = BREAKING[case]
    found = [each for each in compare(old, new) if each.severity == "breaking"]
    assert len(found) == 1, found
    assert found[0].where.startswith(where)
    assert said in found[0].problem


@pytest.mark.parametrize("case", HARMLESS)
def test_what_does_not_is_a_note_at_most(case: str) -> None:
    assert {each.severity for each in compare(*HARMLESS[case])} <= {"note"}


@pytest.mark.parametrize("case", [*BREAKING, *HARMLESS])
def test_what_has_not_changed_is_not_named(case: str) -> None:
    for surface in {**BREAKING, **HARMLESS}[case][:2]:
        assert compare(surface, surface) == []


def test_a_schema_in_itself_comes_to_an_end() -> None:
    box = {"type": "object", "properties": {"in": {"$ref": "#/$defs/Box"}, "x": INT}}
    smaller = {"type": "object", "properties": {"in": {"$ref": "#/$defs/Box"}}}
    old, new = (taking({"$ref": "#/$defs/Box"}, **{"$defs": {"Box": each}}) for each in (box, smaller))
    assert "was removed" in {each.problem for each in compare(old, new)}
