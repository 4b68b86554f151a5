"""Rules for the schemas of arguments and results; what they have in common is in `schema_facts`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from enfilade.client.surface import Surface
from enfilade.lint import schema_facts as facts
from enfilade.lint.findings import Hits, Rule, Severity
from enfilade.lint.surface_rules import label
from enfilade.primitives.schema.portable import KNOWN_FORMATS
from enfilade.primitives.schema.references import Schema
from enfilade.primitives.schema.regex_dialect import is_portable

DEEPEST_SCHEMA: Final = 5
MAX_EXCERPT: Final = 60  # characters of a foreign text in a finding

_INPUT: Final = ("inputSchema",)
_OUTPUT: Final = ("outputSchema",)
_COMBINATIONS: Final = ("anyOf", "oneOf", "allOf", "not", "enum", "if")
#: Formats whose texts, as many languages write them, are refused by others.
_OFTEN_BROKEN: Final = ("date-time", "duration", "regex", "time")
#: Keywords of 2020-12 and earlier drafts, and `nullable`, which validators accept because of OpenAPI.
_KNOWN_KEYWORDS: Final = frozenset(
    (
        *("$anchor", "$comment", "$defs", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor"),
        *("$recursiveRef", "$ref", "$schema", "$vocabulary", "additionalItems", "additionalProperties"),
        *("allOf", "anyOf", "const", "contains", "contentEncoding", "contentMediaType", "contentSchema"),
        *("default", "definitions", "dependencies", "dependentRequired", "dependentSchemas", "deprecated"),
        *("description", "else", "enum", "examples", "exclusiveMaximum", "exclusiveMinimum", "format", "if"),
        *("items", "maxContains", "maxItems", "maxLength", "maxProperties", "maximum", "minContains"),
        *("minItems", "minLength", "minProperties", "minimum", "multipleOf", "not", "nullable", "oneOf"),
        *("pattern", "patternProperties", "prefixItems", "properties", "propertyNames", "readOnly", "required"),
        *("then", "title", "type", "unevaluatedItems", "unevaluatedProperties", "uniqueItems", "writeOnly"),
    )
)

Problems = Iterator[tuple[str, str]]  # the path in a schema, and the problem


def schema_rule(
    id: str, severity: Severity, why: str, fix: str, *, members: tuple[str, ...] = _INPUT + _OUTPUT
) -> Callable[[Callable[[Schema], Problems]], Rule]:
    """Return a decorator that turns a function of one schema into a rule for these members of each tool."""

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
    why="Clients validate calls and results by the schema, and drop a tool with an invalid one.",
    fix="correct the schema; it is JSON Schema 2020-12 unless $schema names another draft",
)
def valid(schema: Schema) -> Problems:
    if (reason := facts.invalidity(schema)) is not None:
        yield "", f"is not a valid JSON Schema: {reason}"


@schema_rule(
    "schema-object",
    "error",
    why="Arguments are an object; the protocol requires type 'object' at the top of an input schema.",
    fix="put the value into a property of an object",
    members=_INPUT,
)
def is_object(schema: Schema) -> Problems:
    if schema.get("type") != "object":
        yield "", f"has type {schema.get('type')!r}, not 'object'"


@schema_rule(
    "schema-never",
    "error",
    why="No value fits: the tool cannot be called if such an argument is required, the argument cannot be given "
    "if it is optional, and a result like this is always refused. Clients refuse an enum without values.",
    fix="change the keywords so that they allow a value, or remove those that exclude each other",
)
def satisfiable(schema: Schema) -> Problems:
    yield from facts.contradictions(schema)


@schema_rule(
    "schema-enum",
    "warning",
    why="A model may choose any value of the list, and the call is refused; some model APIs refuse the tool.",
    fix="list each value once, and only values that the other keywords allow",
)
def choices(schema: Schema) -> Problems:
    yield from facts.odd_choices(schema)


@schema_rule(
    "schema-overlap",
    "warning",
    why="oneOf allows a value that fits exactly one branch, so a call or result that fits two is refused.",
    fix="use anyOf, or a required property by whose value the branches differ",
)
def overlaps(schema: Schema) -> Problems:
    for path, example in facts.overlaps(schema):
        yield path, f"has a oneOf that refuses {_excerpt(example)}, since several of its branches allow it"


@schema_rule(
    "schema-required",
    "warning",
    why="A model must send a value without a description; strict validators such as Ajv refuse the schema.",
    fix="describe it under properties, or remove it from required",
)
def required(schema: Schema) -> Problems:
    for path, name in facts.undescribed_requirements(schema):
        yield path, f"requires {_excerpt(name)}, which is no property"


@schema_rule(
    "schema-keyword",
    "warning",
    why="Strict validators such as Ajv refuse keywords that JSON Schema does not have; others ignore them.",
    fix="remove it, move it to the description, or prefix its name with x-",
)
def keywords(schema: Schema) -> Problems:
    for path, subschema in facts.located(schema):
        for keyword in subschema:
            if keyword not in _KNOWN_KEYWORDS and not keyword.startswith("x-"):
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
    why="Some hosts do not resolve $ref, and show arguments without a type to their model.",
    fix="write the type where it is used, if such hosts matter",
    members=_INPUT,
)
def local_references(schema: Schema) -> Problems:
    targets = [target for target in facts.used_references(schema) if target.startswith("#")]
    if targets and not facts.is_recursive(schema):
        yield "", f"refers to {', '.join(targets)}"


@schema_rule(
    "schema-remote-reference",
    "error",
    why="A client must not fetch other documents, so it cannot validate by this schema.",
    fix="copy the referenced schema into $defs",
)
def remote_references(schema: Schema) -> Problems:
    for target in dict.fromkeys(facts.references(schema)):
        if not target.startswith("#"):
            yield "", f"refers to {target}"


@schema_rule(
    "schema-recursive",
    "warning",
    why="Hosts that expand references do not terminate, or refuse the tool.",
    fix="limit the depth, or accept the structure as JSON text",
)
def recursive(schema: Schema) -> Problems:
    if facts.is_recursive(schema):
        yield "", "contains itself"


@schema_rule(
    "schema-depth",
    "warning",
    why=f"Beyond {DEEPEST_SCHEMA} levels some model APIs refuse a schema, and models make mistakes.",
    fix="flatten it, or split the tool",
)
def depth(schema: Schema) -> Problems:
    if (levels := facts.depth(schema)) > DEEPEST_SCHEMA:
        yield "", f"is {levels} levels deep"


@schema_rule(
    "schema-pattern",
    "error",
    why="A pattern must follow ECMA-262; clients refuse a tool with any other, some of them the whole list.",
    fix="write it without (?P<…>), (?i), \\A, \\Z and the like; or check it in the tool and describe it",
)
def patterns(schema: Schema) -> Problems:
    for path, subschema in facts.located(schema):
        properties = subschema.get("patternProperties")
        for pattern in (subschema.get("pattern"), *(properties if isinstance(properties, Mapping) else ())):
            if isinstance(pattern, str) and not is_portable(pattern):
                yield path, f"has the pattern {_excerpt(pattern)}"


@schema_rule(
    "schema-default",
    "warning",
    why="Hosts fill in defaults, and the call is refused because the schema does not allow them.",
    fix="remove the default, or allow it (null by anyOf with type null)",
)
def defaults(schema: Schema) -> Problems:
    definitions = facts.without("default", facts.definitions_of(schema))
    for path, subschema in facts.located(schema):
        if "default" in subschema:
            schema_of_value = {**definitions, **facts.without("default", subschema)}
            if not facts.fits(subschema["default"], schema_of_value):
                yield path, "has a default that its own schema refuses"


@schema_rule(
    "schema-format",
    "note",
    why="Validators know the formats of JSON Schema, and warn about others or refuse them.",
    fix="describe the form of the text in the description",
)
def formats(schema: Schema) -> Problems:
    for path, subschema in facts.located(schema):
        if isinstance(subschema.get("format"), str) and subschema["format"] not in KNOWN_FORMATS:
            yield path, f"has the format {_excerpt(subschema['format'])}"


@schema_rule(
    "schema-output-format",
    "note",
    why="Clients refuse a result with a date-time without an offset and the like, after the tool has run.",
    fix="remove the format, unless all values conform to RFC 3339 or ECMA-262",
    members=_OUTPUT,
)
def output_formats(schema: Schema) -> Problems:
    for path, subschema in facts.located(schema):
        if subschema.get("format") in _OFTEN_BROKEN:
            yield path, f"has the format {subschema['format']}"


@schema_rule(
    "schema-items",
    "warning",
    why="Some hosts and model APIs refuse an array without a schema for its items.",
    fix='add "items", also beside "prefixItems"; {} allows any value',
)
def items(schema: Schema) -> Problems:
    for path, subschema in facts.located(schema):
        kind = subschema.get("type")
        if (kind == "array" or (isinstance(kind, list) and "array" in kind)) and "items" not in subschema:
            yield path, "is an array without items"


def _excerpt(text: str) -> str:
    return text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 1]}…"
