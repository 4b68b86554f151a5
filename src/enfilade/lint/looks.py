"""What the rules look for: a function for each, which yields where it finds what.

Easy to get wrong: to take a name for a keyword. Arguments may be called `enum`, so only schemas are looked at.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from enfilade.client.surface import Surface, arguments_of
from enfilade.lint import portability
from enfilade.lint.schemas import complaint, depth, is_recursive, references as references_of
from enfilade.lint.secrets import secret_defaults
from enfilade.lint.token_count import tokens_of, tokens_of_all

Hits = Iterator[tuple[str, str]]

LONGEST_DESCRIPTION: Final = 1024
DEEPEST_SCHEMA: Final = 5
LONGEST_SHOWN: Final = 60
MOST_TOOLS: Final = 40
MOST_TOKENS: Final = 10_000
MOST_TOKENS_OF_ONE: Final = 2_000

_PROTOCOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_HOST_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_COMBINED: Final = ("anyOf", "oneOf", "allOf", "not", "enum", "if")


def _of_tool(tool: dict[str, Any]) -> str:
    return f"tool {tool['name']}"


def names(surface: Surface) -> Hits:
    for tool in surface.tools:
        if not _PROTOCOL_NAME.fullmatch(tool["name"]):
            yield _of_tool(tool), f"{len(tool['name'])} characters, or others than A-Z a-z 0-9 _ . -"


def names_for_hosts(surface: Surface) -> Hits:
    for tool in surface.tools:
        if _PROTOCOL_NAME.fullmatch(tool["name"]) and not _HOST_NAME.fullmatch(tool["name"]):
            yield _of_tool(tool), "longer than 64 characters, or with a dot"


def same_names(surface: Surface) -> Hits:
    prompts, resources = ("prompt", surface.prompts, "name"), ("resource", surface.resources, "uri")
    lists = ("tool", surface.tools, "name"), prompts, resources
    for what, items, key in lists:
        for name, count in Counter(item[key] for item in items).items():
            if count > 1:
                yield f"{what} {name}", f"listed {count} times"


def near_names(surface: Surface) -> Hits:
    seen: dict[str, str] = {}
    for name in dict.fromkeys(tool["name"] for tool in surface.tools):
        bare = re.sub(r"[^a-z0-9]", "", name.lower())
        if bare in seen:
            yield f"tool {name}", f"is {seen[bare]} but for case or punctuation"
        seen.setdefault(bare, name)


def no_description(surface: Surface) -> Hits:
    for tool in surface.tools:
        if not (tool.get("description") or "").strip():
            yield _of_tool(tool), "has no description"


def long_description(surface: Surface) -> Hits:
    for tool in surface.tools:
        length = len(tool.get("description") or "")
        if length > LONGEST_DESCRIPTION:
            yield _of_tool(tool), f"a description of {length} characters"


def silent_arguments(surface: Surface) -> Hits:
    for tool in surface.tools:
        silent = [name for name, part, _ in arguments_of(tool) if not _described(part)]
        if silent:
            yield _of_tool(tool), f"no description of {', '.join(silent)}"


def _described(part: Any) -> bool:
    return not isinstance(part, dict) or bool(part.get("description")) or "const" in part


def _schemas(surface: Surface) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for tool in surface.tools:
        for key in ("inputSchema", "outputSchema"):
            if isinstance(tool.get(key), dict):
                yield _of_tool(tool), key, tool[key]


def invalid_schemas(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        if (said := complaint(schema)) is not None:
            yield where, f"{key} is no valid JSON Schema: {said}"


def no_objects(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        if key == "inputSchema" and schema.get("type") != "object":
            yield where, f"{key} has type {schema.get('type')!r}, not 'object'"


def combined_at_top(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        found = [word for word in _COMBINED if word in schema]
        if key == "inputSchema" and found:
            yield where, f"{', '.join(found)} at the top of {key}"


def references(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        found = [each for each in references_of(schema) if each.startswith("#")]
        if key == "inputSchema" and found and not is_recursive(schema):
            yield where, f"{key} refers to {', '.join(dict.fromkeys(found))}"


def remote_references(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        for each in dict.fromkeys(references_of(schema)):
            if not each.startswith("#"):
                yield where, f"{key} refers to {each}"


def recursive(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        if is_recursive(schema):
            yield where, f"{key} contains itself"


def deep(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        if (levels := depth(schema)) > DEEPEST_SCHEMA:
            yield where, f"{key} is {levels} levels deep"


def foreign_patterns(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        for at, pattern in portability.foreign_patterns(schema):
            yield where, f"{_place(key, at)} has the pattern {_shown(pattern)}"


def unknown_formats(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        for at, name in portability.unknown_formats(schema):
            yield where, f"{_place(key, at)} has the format {_shown(name)}"


def often_broken_formats(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        for at, name in portability.often_broken_formats(schema) if key == "outputSchema" else ():
            yield where, f"{_place(key, at)} has the format {name}"


def wrong_defaults(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        for at in portability.wrong_defaults(schema):
            yield where, f"the default of {_place(key, at)} is none that its schema allows"


def arrays_without_items(surface: Surface) -> Hits:
    for where, key, schema in _schemas(surface):
        for at in portability.arrays_without_items(schema):
            yield where, f"{_place(key, at)} is an array without items"


def _place(key: str, at: str) -> str:
    return f"{key}, {at}" if at else key


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def many_tools(surface: Surface) -> Hits:
    if len(surface.tools) > MOST_TOOLS:
        yield "tools", f"{len(surface.tools)} of them"


def dear_tools(surface: Surface) -> Hits:
    total = tokens_of_all(surface.tools)
    if total > MOST_TOKENS:
        yield "tools", f"about {total:,} tokens (bytes/4) before the first question"
    for tool in surface.tools:
        if (cost := tokens_of(tool)) > MOST_TOKENS_OF_ONE:
            yield _of_tool(tool), f"about {cost:,} tokens (bytes/4)"


def no_annotations(surface: Surface) -> Hits:
    for tool in surface.tools:
        if not any(key.endswith("Hint") for key in tool.get("annotations") or {}):
            yield _of_tool(tool), "does not say whether it changes anything"


def secrets(surface: Surface) -> Hits:
    for tool in surface.tools:
        for name in secret_defaults(tool.get("inputSchema", {})):
            yield f"{_of_tool(tool)}, argument {name}", "its default looks like a secret"


def silent_others(surface: Surface) -> Hits:
    for what, items, key in (
        ("prompt", surface.prompts, "name"),
        ("resource", surface.resources, "uri"),
        ("template", surface.templates, "uriTemplate"),
    ):
        for item in items:
            if not item.get("description"):
                yield f"{what} {item[key]}", "has no description"
