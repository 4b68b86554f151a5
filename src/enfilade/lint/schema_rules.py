"""Rules for the schemas of arguments and results, based on `schema_facts`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from enfilade.client.surface import Surface
from enfilade.lint import schema_facts as facts
from enfilade.lint.findings import Hits, Rule, Severity
from enfilade.lint.surface_rules import label
from enfilade.primitives.schema.references import Schema

DEEPEST_SCHEMA: Final = 5
MAX_EXCERPT: Final = 60  # characters of a foreign text in a finding

_INPUT: Final = ("inputSchema",)
_OUTPUT: Final = ("outputSchema",)
_COMBINATIONS: Final = ("anyOf", "oneOf", "allOf", "not", "enum", "if")

Problems = Iterator[tuple[str, str]]  # the path in a schema, and the problem


def schema_rule(
    id: str, severity: Severity, why: str, fix: str, *, members: tuple[str, ...] = _INPUT + _OUTPUT
) -> Callable[[Callable[[Schema], Problems]], Rule]:
    """Return a decorator that turns a function of one schema into a rule.

    Args:
        id: as in `Rule`.
        severity: as in `Rule`.
        why: as in `Rule`.
        fix: as in `Rule`.
        members: the members of a tool whose schemas are checked.
    """

    def decorate(find: Callable[[Schema], Problems]) -> Rule:
        def find_in_tools(surface: Surface) -> Hits:
            for tool in surface.tools:
                for key in members:
                    schema = tool.get(key)
                    for path, problem in find(schema) if isinstance(schema, dict) else ():
                        yield label(tool), f"{key}, {path} {problem}" if path else f"{key} {problem}"

        return Rule(id=id, severity=severity, why=why, fix=fix, find=find_in_tools)

    return decorate


@schema_rule(
    "schema-valid",
    "error",
    why="Clients check calls and results against the schema, and drop a tool whose schema is none.",
    fix="mend the schema; it is JSON Schema 2020-12 unless it names another by $schema",
)
def valid(schema: Schema) -> Problems:
    if (reason := facts.invalidity(schema)) is not None:
        yield "", f"is no valid JSON Schema: {reason}"


@schema_rule(
    "schema-object",
    "error",
    why="Arguments are an object; the protocol demands type 'object' at the top of an input schema.",
    fix="put the value into a property of an object",
    members=_INPUT,
)
def is_object(schema: Schema) -> Problems:
    if schema.get("type") != "object":
        yield "", f"has type {schema.get('type')!r}, not 'object'"


@schema_rule(
    "schema-never",
    "error",
    why="No value fits, so the tool can never be called; and clients refuse an enum without values.",
    fix="let the keywords allow something, or leave out those that exclude each other",
)
def satisfiable(schema: Schema) -> Problems:
    yield from facts.contradictions(schema)


@schema_rule(
    "schema-enum",
    "warning",
    why="A model may choose any value of the list, and the call is refused; some model APIs refuse the tool.",
    fix="list each value once, and only values of the type that stands beside the list",
)
def choices(schema: Schema) -> Problems:
    yield from facts.odd_choices(schema)


@schema_rule(
    "schema-required",
    "warning",
    why="A model must send what is described nowhere; strict validators, such as Ajv's, refuse the schema.",
    fix="describe it under properties, or take it out of required",
)
def required(schema: Schema) -> Problems:
    for path, name in facts.undescribed_requirements(schema):
        yield path, f"requires {_excerpt(name)}, which is no property"


@schema_rule(
    "schema-keyword",
    "warning",
    why="Strict validators, such as Ajv's, refuse a keyword that JSON Schema does not have; others ignore it.",
    fix="take it out, say it in the description, or let its name begin with x-",
)
def keywords(schema: Schema) -> Problems:
    for path, keyword in facts.unknown_keywords(schema):
        yield path, f"has the keyword {_excerpt(keyword)}"


@schema_rule(
    "schema-combined",
    "warning",
    why="Several model APIs refuse anyOf, oneOf, allOf, not and enum at the top of a tool's schema.",
    fix="make it one object, with the alternatives in a property, or several tools",
    members=_INPUT,
)
def combined(schema: Schema) -> Problems:
    if combinations := [key for key in _COMBINATIONS if key in schema]:
        yield "", f"has {', '.join(combinations)} at its top"


@schema_rule(
    "schema-reference",
    "note",
    why="Some hosts do not follow $ref, and show their model arguments without a type.",
    fix="write the type out where it is used, if such hosts matter",
    members=_INPUT,
)
def local_references(schema: Schema) -> Problems:
    targets = [target for target in facts.used_references(schema) if target.startswith("#")]
    if targets and not facts.is_recursive(schema):
        yield "", f"refers to {', '.join(targets)}"


@schema_rule(
    "schema-remote-reference",
    "error",
    why="A client must not fetch what a schema refers to, so nobody can check it.",
    fix="copy what it refers to into $defs",
)
def remote_references(schema: Schema) -> Problems:
    for target in dict.fromkeys(facts.references(schema)):
        if not target.startswith("#"):
            yield "", f"refers to {target}"


@schema_rule(
    "schema-recursive",
    "warning",
    why="Hosts that write references out never come to an end, or refuse the tool.",
    fix="bound the depth, or take the structure as JSON text",
)
def recursive(schema: Schema) -> Problems:
    if facts.is_recursive(schema):
        yield "", "contains itself"


@schema_rule(
    "schema-depth",
    "warning",
    why=f"Beyond {DEEPEST_SCHEMA} levels some model APIs refuse a schema, and models err in it.",
    fix="flatten it, or make several tools",
)
def depth(schema: Schema) -> Problems:
    if (levels := facts.depth(schema)) > DEEPEST_SCHEMA:
        yield "", f"is {levels} levels deep"


@schema_rule(
    "schema-pattern",
    "error",
    why="A pattern is ECMA-262's; clients refuse the tool for any other, and some of them the whole list.",
    fix="write it without (?P<…>), (?i), \\A, \\Z and the like; or check it in the tool, and describe it",
)
def patterns(schema: Schema) -> Problems:
    for path, pattern in facts.foreign_patterns(schema):
        yield path, f"has the pattern {_excerpt(pattern)}"


@schema_rule(
    "schema-default",
    "warning",
    why="Hosts fill in defaults, and the call is refused for what its own schema does not allow.",
    fix="leave the default out, or allow it (null too, by anyOf with type null)",
)
def defaults(schema: Schema) -> Problems:
    for path in facts.wrong_defaults(schema):
        yield path, "has a default that its own schema refuses"


@schema_rule(
    "schema-format",
    "note",
    why="Validators know the formats of JSON Schema, and warn of any other or refuse it.",
    fix="say in the description what the text is like",
)
def formats(schema: Schema) -> Problems:
    for path, name in facts.unknown_formats(schema):
        yield path, f"has the format {_excerpt(name)}"


@schema_rule(
    "schema-output-format",
    "note",
    why="Clients refuse a result for a date-time without an offset and the like, when the tool has run.",
    fix="leave the format out, unless whatever is sent surely keeps to RFC 3339 or ECMA-262",
    members=_OUTPUT,
)
def output_formats(schema: Schema) -> Problems:
    for path, name in facts.often_broken_formats(schema):
        yield path, f"has the format {name}"


@schema_rule(
    "schema-items",
    "warning",
    why="Some hosts and model APIs refuse an array that does not say what its items are.",
    fix='add "items", beside "prefixItems" too; {} is anything',
)
def items(schema: Schema) -> Problems:
    for path in facts.arrays_without_items(schema):
        yield path, "is an array without items"


def _excerpt(text: str) -> str:
    return text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 1]}…"
