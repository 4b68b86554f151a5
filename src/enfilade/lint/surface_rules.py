"""Rules for names, descriptions, defaults and the cost of a list of tools.

A client gives name, description and input schema of each tool to its model; output schemas and annotations are
for the client itself. The cost is an estimate: the bytes of compact JSON divided by four, which is close to the
results of tokenizers for English and JSON, and independent of the model.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from enfilade.client.surface import Surface, arguments_of
from enfilade.lint.findings import Hits, rule

LONGEST_DESCRIPTION: Final = 1024  # characters
MOST_TOOLS: Final = 40
MOST_TOKENS: Final = 10_000
MOST_TOKENS_OF_ONE: Final = 2_000
BYTES_PER_TOKEN: Final = 4

_PROTOCOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_HOST_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MODEL_READS: Final = ("name", "description", "inputSchema")
#: The forms of well-known kinds of credentials.
_SECRET_SHAPES: Final = re.compile(
    r"(sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"  # keys of model and payment services
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|glpat-[\w-]{16,}"
    r"|xox[abprs]-[\w-]{10,}"
    r"|(AKIA|ASIA)[A-Z0-9]{16}"
    r"|AIza[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # a JSON Web Token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\w+://[^/\s:@]+:[^/\s:@]+@"  # a password in a URL
)
_SECRET_NAMES: Final = re.compile(r"(?i)(^|[_-])(pass(word|wd|phrase)?|secret|token|api[_-]?key|credentials?)$")
_PLACEHOLDERS: Final = re.compile(r"(?i)|none|null|default|changeme|example.*|your.*|<.*>|\*+|\.+")


def tokens_of(tool: Mapping[str, Any]) -> int:
    """Return the estimated number of tokens of a tool in a model's context."""
    visible = {key: tool[key] for key in _MODEL_READS if key in tool}
    return math.ceil(
        len(json.dumps(visible, separators=(",", ":"), ensure_ascii=False).encode()) / BYTES_PER_TOKEN
    )


def tokens_of_all(tools: Iterable[Mapping[str, Any]]) -> int:
    """Return the estimated number of tokens of a list of tools in a model's context."""
    return sum(tokens_of(tool) for tool in tools)


def label(tool: Mapping[str, Any]) -> str:
    """Return the location of a tool in findings."""
    return f"tool {tool['name']}"


@rule(
    "tool-name",
    "error",
    why="The protocol allows 1 to 128 of A-Z a-z 0-9 _ . - in the name of a tool.",
    fix="rename it; use only letters, digits, _ and -",
)
def tool_name(surface: Surface) -> Hits:
    for tool in surface.tools:
        if not _PROTOCOL_NAME.fullmatch(tool["name"]):
            yield label(tool), f"{len(tool['name'])} characters, or characters other than A-Z a-z 0-9 _ . -"


@rule(
    "tool-name-for-hosts",
    "warning",
    why="Model APIs accept ^[a-zA-Z0-9_-]{1,64}$; hosts refuse or rename other tools.",
    fix="use a name of at most 64 letters, digits, _ and -",
)
def tool_name_for_hosts(surface: Surface) -> Hits:
    for tool in surface.tools:
        if _PROTOCOL_NAME.fullmatch(tool["name"]) and not _HOST_NAME.fullmatch(tool["name"]):
            yield label(tool), "longer than 64 characters, or with a dot"


@rule(
    "same-name",
    "error",
    why="Clients call by name, so only one of several can be reached.",
    fix="give each one a unique name",
)
def same_name(surface: Surface) -> Hits:
    prompts, resources = ("prompt", surface.prompts, "name"), ("resource", surface.resources, "uri")
    lists = ("tool", surface.tools, "name"), prompts, resources
    for noun, items, key in lists:
        for name, count in Counter(item[key] for item in items).items():
            if count > 1:
                yield f"{noun} {name}", f"listed {count} times"


@rule(
    "near-name",
    "warning",
    why="A model confuses them, and some hosts map both to the same name.",
    fix="make the names differ in a word",
)
def near_name(surface: Surface) -> Hits:
    seen: dict[str, str] = {}
    for name in dict.fromkeys(tool["name"] for tool in surface.tools):
        letters = re.sub(r"[^a-z0-9]", "", name.lower())
        if letters in seen:
            yield f"tool {name}", f"differs from {seen[letters]} only in case or punctuation"
        seen.setdefault(letters, name)


@rule(
    "tool-description",
    "warning",
    why="A model chooses a tool by its description.",
    fix="describe in a sentence or two what it does and when to use it",
)
def tool_description(surface: Surface) -> Hits:
    for tool in surface.tools:
        if not (tool.get("description") or "").strip():
            yield label(tool), "has no description"


@rule(
    "long-description",
    "warning",
    why=f"Some hosts cut descriptions off after {LONGEST_DESCRIPTION} characters, and all of it costs.",
    fix="keep what is needed to choose the tool; move the rest to a resource or the instructions",
)
def long_description(surface: Surface) -> Hits:
    for tool in surface.tools:
        length = len(tool.get("description") or "")
        if length > LONGEST_DESCRIPTION:
            yield label(tool), f"a description of {length} characters"


@rule(
    "argument-description",
    "warning",
    why="A model guesses what an argument means from its name alone.",
    fix="describe each argument: in the docstring's Args, or by Annotated[type, 'what it is']",
)
def argument_description(surface: Surface) -> Hits:
    for tool in surface.tools:
        missing = [name for name, schema, _ in arguments_of(tool) if not _is_described(schema)]
        if missing:
            yield label(tool), f"no description of {', '.join(missing)}"


def _is_described(schema: Any) -> bool:
    return not isinstance(schema, dict) or bool(schema.get("description")) or "const" in schema


@rule(
    "many-tools",
    "warning",
    why=f"Some hosts offer at most {MOST_TOOLS} tools, and models choose worse among many.",
    fix="merge tools, or split the server",
)
def many_tools(surface: Surface) -> Hits:
    if len(surface.tools) > MOST_TOOLS:
        yield "tools", f"{len(surface.tools)} of them"


@rule(
    "tool-cost",
    "warning",
    why="The list of tools is part of every request to a model, and uses up its context.",
    fix="shorten descriptions, flatten schemas, remove unused tools",
)
def tool_cost(surface: Surface) -> Hits:
    total = tokens_of_all(surface.tools)
    if total > MOST_TOKENS:
        yield "tools", f"about {total:,} tokens (bytes/4) before the first question"
    for tool in surface.tools:
        if (cost := tokens_of(tool)) > MOST_TOKENS_OF_ONE:
            yield label(tool), f"about {cost:,} tokens (bytes/4)"


@rule(
    "annotations",
    "note",
    why="Hosts ask the user before each call of a tool that is not declared as read-only.",
    fix="declare it with annotations: readOnlyHint, destructiveHint, idempotentHint, openWorldHint",
)
def annotations(surface: Surface) -> Hits:
    for tool in surface.tools:
        if not any(key.endswith("Hint") for key in tool.get("annotations") or {}):
            yield label(tool), "does not declare whether it changes anything"


@rule(
    "secret-default",
    "error",
    why="A default is shown to every client and every model.",
    fix="remove it and revoke it; a tool gets secrets from the server's environment",
)
def secret_default(surface: Surface) -> Hits:
    for tool in surface.tools:
        for name in _secret_defaults(tool.get("inputSchema", {})):
            # The value itself is not in the finding, which ends up in logs.
            yield f"{label(tool)}, argument {name}", "its default looks like a secret"


def _secret_defaults(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the paths of arguments whose defaults look like secrets."""
    for name, member in (schema.get("properties") or {}).items():
        if not isinstance(member, Mapping):
            continue
        default = member.get("default")
        if isinstance(default, str) and _looks_secret(name, default):
            yield prefix + name
        yield from _secret_defaults(member, f"{prefix}{name}.")


def _looks_secret(name: str, default: str) -> bool:
    if _SECRET_SHAPES.search(default):
        return True
    return bool(_SECRET_NAMES.search(name)) and not _PLACEHOLDERS.fullmatch(default) and len(default) >= 4


@rule(
    "description",
    "note",
    why="Users and models choose prompts and resources by their descriptions.",
    fix="describe it in a sentence",
)
def description(surface: Surface) -> Hits:
    for noun, items, key in (
        ("prompt", surface.prompts, "name"),
        ("resource", surface.resources, "uri"),
        ("template", surface.templates, "uriTemplate"),
    ):
        for item in items:
            if not item.get("description"):
                yield f"{noun} {item[key]}", "has no description"
