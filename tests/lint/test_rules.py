"""The rules: each finds what it is for, where it is, and nothing in a server that is as it should be."""

import socket
from typing import Any

import pytest

from enfilade.client.surface import Surface
from enfilade.lint.run import RULES, apply_rules
from enfilade.lint.schema_rules import DEEPEST_SCHEMA
from enfilade.lint.surface_rules import MOST_TOOLS, tokens_of, tokens_of_all


def tool(name: str = "add", schema: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Return a tool in which no rule finds anything, but for what is changed; None takes a key away."""
    whole = {
        "name": name,
        "description": "Add two numbers.",
        "inputSchema": schema or with_argument({"type": "integer", "description": "The first."}),
        "annotations": {"readOnlyHint": True},
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}


def with_argument(part: dict[str, Any], name: str = "a", **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"description": "It.", **part}}, **more}


def branch(*names: str, **more: Any) -> dict[str, Any]:
    members = {name: {"type": "integer", "description": "It."} for name in names}
    return {"type": "object", "description": "It.", "properties": members, **more}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer", "description": "It."}
    for _ in range(levels):
        schema = {"type": "object", "description": "It.", "properties": {"a": schema}}
    return schema


def tools(*items: dict[str, Any]) -> Surface:
    return Surface(tools=list(items))


def with_skill(name: str = "a", description: str = "It.", files: int = 1, also: str | None = None) -> Surface:
    front_matter = {"name": name, "description": description}
    uris = ["skill://a/SKILL.md", *([also] if also else [])]
    resources = [{"uri": f"skill://a/{number}", "size": 1} for number in range(files)]
    return Surface(skills=[{"uri": uri, "frontmatter": front_matter, "resources": resources} for uri in uris])


SKILL = "skill skill://a/SKILL.md"
BOX = {"type": "object", "properties": {"in": {"$ref": "#/$defs/Box"}}}
SECRET = "sk-" + "a1" * 12

CASES: dict[str, tuple[str, Surface, str]] = {
    "a space in a name": ("tool-name", tools(tool("add two")), "tool add two"),
    "a long name": ("tool-name", tools(tool("a" * 129)), "tool aaa"),
    "a dot in a name": ("tool-name-for-hosts", tools(tool("math.add")), "tool math.add"),
    "65 characters": ("tool-name-for-hosts", tools(tool("a" * 65)), "tool aaa"),
    "a name twice": ("same-name", tools(tool(), tool()), "tool add"),
    "a resource twice": (
        "same-name",
        Surface(resources=[{"uri": "a://b", "description": "x"}] * 2),
        "resource a://b",
    ),
    "two names that are nearly one": ("near-name", tools(tool("get_user"), tool("getUser")), "tool getUser"),
    "no description": ("tool-description", tools(tool(description=None)), "tool add"),
    "an empty description": ("tool-description", tools(tool(description=" ")), "tool add"),
    "a long description": ("long-description", tools(tool(description="x" * 1025)), "tool add"),
    "a silent argument": (
        "argument-description",
        tools(tool(schema=with_argument({"description": ""}))),
        "tool add",
    ),
    "a type that is none": ("schema-valid", tools(tool(schema=with_argument({"type": "int"}))), "tool add"),
    "a reference to nothing": (
        "schema-valid",
        tools(tool(schema=with_argument({"$ref": "#/$defs/Nothing"}))),
        "tool add",
    ),
    "a bad output schema": ("schema-valid", tools(tool(outputSchema={"required": "a"})), "tool add"),
    "no object": ("schema-object", tools(tool(schema={"type": "array"})), "tool add"),
    "oneOf at the top": ("schema-combined", tools(tool(schema={"type": "object", "oneOf": [{}]})), "tool add"),
    "a reference": (
        "schema-reference",
        tools(tool(schema=with_argument({"$ref": "#/$defs/A"}, **{"$defs": {"A": {"type": "string"}}}))),
        "tool add",
    ),
    "a reference to elsewhere": (
        "schema-remote-reference",
        tools(tool(schema=with_argument({"$ref": "http://127.0.0.1:9/a"}))),
        "tool add",
    ),
    "a schema in itself": (
        "schema-recursive",
        tools(tool(schema=with_argument({"$ref": "#/$defs/Box"}, **{"$defs": {"Box": BOX}}))),
        "tool add",
    ),
    "a root in itself": ("schema-recursive", tools(tool(schema=with_argument({"$ref": "#"}))), "tool add"),
    "a deep schema": ("schema-depth", tools(tool(schema=nested(DEEPEST_SCHEMA + 1))), "tool add"),
    "a pattern of Python": (
        "schema-pattern",
        tools(tool(schema=with_argument({"type": "string", "pattern": r"^(?P<y>\d+)$"}))),
        "tool add",
    ),
    "a pattern of Python in a result": (
        "schema-pattern",
        tools(
            tool(outputSchema=with_argument({"type": "array", "items": {"type": "string", "pattern": "(?i)a"}}))
        ),
        "tool add",
    ),
    "a pattern of Python for names": (
        "schema-pattern",
        tools(tool(schema=with_argument({"type": "object", "patternProperties": {r"\Aa": {}}}))),
        "tool add",
    ),
    "null as a default": (
        "schema-default",
        tools(tool(schema=with_argument({"type": "number", "default": None}))),
        "tool add",
    ),
    "a default of a definition": (
        "schema-default",
        tools(
            tool(schema=with_argument({"$ref": "#/$defs/A", "default": 5}, **{"$defs": {"A": {"enum": ["a"]}}}))
        ),
        "tool add",
    ),
    "a format that nobody knows": (
        "schema-format",
        tools(tool(schema=with_argument({"type": "string", "format": "ipv4network"}))),
        "tool add",
    ),
    "a date-time in a result": (
        "schema-output-format",
        tools(tool(outputSchema=with_argument({"type": "string", "format": "date-time"}))),
        "tool add",
    ),
    "nothing that fits both": (
        "schema-overlap",
        tools(tool(schema=with_argument({"oneOf": [branch("x"), branch("y")]}))),
        "tool add",
    ),
    "an object that fits both": (
        "schema-overlap",
        tools(tool(schema=with_argument({"oneOf": [branch("x", required=["x"]), branch("x", "y")]}))),
        "tool add",
    ),
    "an array without items": ("schema-items", tools(tool(schema=with_argument({"type": "array"}))), "tool add"),
    "a tuple without items": (
        "schema-items",
        tools(tool(schema=with_argument({"type": ["array", "null"], "prefixItems": [{"type": "integer"}]}))),
        "tool add",
    ),
    "an enum without values": ("schema-never", tools(tool(schema=with_argument({"enum": []}))), "tool add"),
    "an enum of another type": (
        "schema-never",
        tools(tool(schema=with_argument({"type": "integer", "enum": ["a"]}))),
        "tool add",
    ),
    "an enum out of bounds": (
        "schema-never",
        tools(tool(schema=with_argument({"type": "integer", "enum": [1, 2], "minimum": 3}))),
        "tool add",
    ),
    "a const of another type": (
        "schema-never",
        tools(tool(schema=with_argument({"type": "string", "const": 1}))),
        "tool add",
    ),
    **{
        f"{low} {least} and {high} {most}": (
            "schema-never",
            tools(tool(schema=with_argument({low: least, high: most}))),
            "tool add",
        )
        for low, least, high, most in (
            ("minimum", 5, "maximum", 1),
            ("minLength", 5, "maxLength", 1),
            ("minItems", 5, "maxItems", 1),
            ("minProperties", 5, "maxProperties", 1),
            ("minContains", 5, "maxContains", 1),
            ("exclusiveMinimum", 5, "maximum", 5),
            ("minimum", 5.5, "exclusiveMaximum", 5.5),
            ("exclusiveMinimum", 5, "exclusiveMaximum", 5),
        )
    },
    "a not that refuses everything": ("schema-never", tools(tool(schema=with_argument({"not": {}}))), "tool add"),
    "bounds in a result": (
        "schema-never",
        tools(tool(outputSchema=with_argument({"type": "array", "items": {"minimum": 5, "maximum": 1}}))),
        "tool add",
    ),
    "a required argument that is not allowed": (
        "schema-never",
        tools(tool(schema=with_argument({}, required=["b"], additionalProperties=False))),
        "tool add",
    ),
    "a required argument without a value": (
        "schema-never",
        tools(tool(schema={"type": "object", "properties": {"a": False}, "required": ["a"]})),
        "tool add",
    ),
    "one value of another type": (
        "schema-enum",
        tools(tool(schema=with_argument({"type": "integer", "enum": [1, "a"]}))),
        "tool add",
    ),
    "a value twice": ("schema-enum", tools(tool(schema=with_argument({"enum": ["a", "a"]}))), "tool add"),
    "a required argument that is none": (
        "schema-required",
        tools(tool(schema=with_argument({}, required=["a", "b"]))),
        "tool add",
    ),
    "a requirement of an alternative": (
        "schema-required",
        tools(tool(schema=with_argument({"type": "object", "anyOf": [{"required": ["b"]}, {"title": "x"}]}))),
        "tool add",
    ),
    "a requirement twice": (
        "schema-valid",
        tools(tool(schema=with_argument({}, required=["a", "a"]))),
        "tool add",
    ),
    "a keyword of nobody": ("schema-keyword", tools(tool(schema=with_argument({"foo": 1}))), "tool add"),
    "a discriminator": (
        "schema-keyword",
        tools(
            tool(
                outputSchema=with_argument(
                    {"oneOf": [{}], "discriminator": {"propertyName": "kind", "mapping": {"a": "#/$defs/A"}}}
                )
            )
        ),
        "tool add",
    ),
    "many tools": ("many-tools", tools(*(tool(f"tool{n}") for n in range(MOST_TOOLS + 1))), "tools"),
    "a dear tool": ("tool-cost", tools(tool(schema=with_argument({"description": "x" * 9000}))), "tool add"),
    "a dear list": (
        "tool-cost",
        tools(*(tool(f"t{n}", schema=with_argument({"description": "x" * 7000})) for n in range(6))),
        "tools",
    ),
    "no annotations": ("annotations", tools(tool(annotations={"title": "Add"})), "tool add"),
    "a key as a default": (
        "secret-default",
        tools(tool(schema=with_argument({"default": SECRET}))),
        "tool add, argument a",
    ),
    "a password as a default": (
        "secret-default",
        tools(tool(schema=with_argument({"default": "hunter2"}, name="db_password"))),
        "tool add, argument db_password",
    ),
    "a silent prompt": ("description", Surface(prompts=[{"name": "greet"}]), "prompt greet"),
    "a skill with another name than its folder": ("skill-name", with_skill("b"), SKILL),
    "a skill without a description": ("skill-description", with_skill(description=""), SKILL),
    "a skill of too many files": ("skill-size", with_skill(files=513), SKILL),
    "two skills of one name": ("same-skill-name", with_skill(also="skill://b/a/SKILL.md"), "skill skill://"),
}

HARMLESS = {
    "branches that differ": tools(
        tool(
            schema=with_argument(
                {"oneOf": [branch("x", required=["x"]), branch("y", required=["y"], additionalProperties=False)]}
            )
        )
    ),
    "branches with values of several types": tools(
        tool(
            schema=with_argument(
                {
                    "oneOf": [
                        {
                            "properties": {name: {"type": ["integer", "null"], "description": "It."}},
                            "required": [name],
                        }
                        for name in ("x", "y")
                    ]
                }
            )
        )
    ),
    "branches that only exclude each other": tools(
        tool(schema=with_argument({**branch("x", "y"), "oneOf": [{"required": ["x"]}, {"required": ["y"]}]}))
    ),
    "patterns of ECMA-262 alone": tools(
        tool(schema=with_argument({"type": "string", "pattern": r"^(?<n>a)\k<n>[^]\0$"})),
        tool("subtract", schema=with_argument({"type": "object", "patternProperties": {"[^]": {}}})),
    ),
    "as it should be": tools(tool()),
    "as deep as may be": tools(tool(schema=nested(DEEPEST_SCHEMA))),
    "64 characters": tools(tool("a" * 64)),
    "a pattern and a default that all understand": tools(
        tool(
            schema=with_argument(
                {"type": "string", "pattern": "^[a-z]+$", "default": "abc", "format": "hostname"}
            )
        )
    ),
    "a date-time as an argument": tools(tool(schema=with_argument({"type": "string", "format": "date-time"}))),
    "a tuple with items": tools(tool(schema=with_argument({"type": "array", "prefixItems": [{}], "items": {}}))),
    "a definition in itself that nothing uses": tools(
        tool(schema=with_argument({}, **{"$defs": {"Box": BOX, "Other": {"items": {"$ref": "#/$defs/Box"}}}}))
    ),
    "a keyword of one's own": tools(tool(schema=with_argument({"x-foo": 1}))),
    "names that look like keywords": tools(
        tool(
            schema=with_argument(
                {"const": {"foo": 1}, "default": {"foo": 1}, "examples": [{"foo": 1}]}, name="foo"
            )
        )
    ),
    "bounds that meet": tools(tool(schema=with_argument({"minimum": 5, "maximum": 5, "minLength": 0}))),
    "values of several types": tools(tool(schema=with_argument({"enum": [1, "a", None, True]}))),
    "a contradiction that is excluded": tools(tool(schema=with_argument({"not": {"enum": []}}))),
    "requirements of alternatives": tools(
        tool(
            schema=with_argument(
                {
                    "type": "object",
                    "properties": {"b": {}, "c": {}},
                    "oneOf": [{"required": ["b"]}, {"properties": {"d": {}}, "required": ["c", "d"]}],
                    "required": ["d"],
                }
            )
        )
    ),
    "requirements in other places": tools(
        tool(
            schema=with_argument(
                {
                    "anyOf": [
                        {"type": "object", "additionalProperties": {"type": "string"}, "required": ["b"]},
                        {"type": "object", "patternProperties": {"^b": {}}, "required": ["b"]},
                        {"type": "object", "patternProperties": {"^b": {}}, "additionalProperties": False},
                    ]
                }
            )
        )
    ),
    "a property called pattern": tools(tool(schema=with_argument({"type": "string"}, name="pattern"))),
    "a property called oneOf": tools(tool(schema=with_argument({"type": "string"}, name="oneOf"))),
    "a property called $ref": tools(tool(schema=with_argument({"type": "string"}, name="$ref"))),
    "a token that is none": tools(tool(schema=with_argument({"default": "your-token"}, name="token"))),
    "a number of tokens": tools(tool(schema=with_argument({"default": 5}, name="token"))),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_finds_what_it_is_for(case: str) -> None:
    rule, surface, where = CASES[case]
    found = apply_rules(surface)
    assert rule in {finding.rule for finding in found}
    assert all(finding.where.startswith(where) for finding in found if finding.rule == rule)
    assert SECRET not in str(found)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("case", HARMLESS)
def test_nothing_is_found_where_nothing_is(case: str) -> None:
    assert apply_rules(HARMLESS[case]) == []


def test_what_is_found_says_where_in_the_schema_it_is() -> None:
    items = {"type": "object", "properties": {"code": {"type": "string", "pattern": "(?i)a"}}}
    schema = with_argument({"type": "array", "items": items}, name="rows")
    (finding,) = (each for each in apply_rules(tools(tool(schema=schema))) if each.rule == "schema-pattern")
    assert finding.problem == "inputSchema, rows[].code has the pattern (?i)a"


def test_every_rule_has_a_case_and_says_what_to_do() -> None:
    assert {rule.id for rule in RULES} == {rule for rule, _, _ in CASES.values()}
    assert all(rule.why.endswith(".") and rule.fix for rule in RULES)
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_a_reference_to_elsewhere_is_not_called_invalid_too() -> None:
    assert [each.rule for each in apply_rules(CASES["a reference to elsewhere"][1])] == [
        "schema-remote-reference"
    ]


@pytest.mark.parametrize("word", ["$dynamicRef", "$schema"])
def test_nothing_is_fetched_from_where_a_schema_leads(word: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        elsewhere = f"http://127.0.0.1:{listener.getsockname()[1]}/a"
        found = apply_rules(tools(tool(schema={**with_argument({"description": "It."}), word: elsewhere})))
        with pytest.raises(BlockingIOError):
            listener.accept()
    (said,) = [finding.problem for finding in found if finding.rule == "schema-valid"]
    assert elsewhere in said


def test_the_cost_is_bytes_by_four() -> None:
    assert tokens_of({"name": "ä", "annotations": {"title": "not shown"}}) == 4  # {"name":"ä"} is 13 bytes
    assert tokens_of_all([{"name": "ä"}] * 3) == 12
