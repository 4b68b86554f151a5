"""The rules for a surface, as data: what each looks for, why, and how to mend it.

Easy to get wrong: a rule that has no reason. Each says in `why` who minds; what only some hosts or models mind
is a warning, and what may well be as its author wants it is a note.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from enfilade.client.surface import Surface
from enfilade.lint import looks
from enfilade.lint.findings import Finding, Severity
from enfilade.lint.looks import Hits


class Rule(Struct, frozen=True, kw_only=True):
    """A rule for what a server offers.

    Attributes:
        id: its name.
        severity: of what it finds.
        why: who minds, and how.
        mend: what to do about it.
        look: yields where it finds what.
    """

    id: str
    severity: Severity
    why: str
    mend: str
    look: Callable[[Surface], Hits]


def apply_rules(surface: Surface) -> list[Finding]:
    """Return what the rules find in a surface."""
    return [
        Finding(rule=rule.id, severity=rule.severity, where=where, said=said, mend=rule.mend)
        for rule in RULES
        for where, said in rule.look(surface)
    ]


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        id="tool-name",
        severity="error",
        why="The protocol allows 1 to 128 of A-Z a-z 0-9 _ . - in the name of a tool.",
        mend="rename it, and keep to letters, digits, _ and -",
        look=looks.names,
    ),
    Rule(
        id="tool-name-for-hosts",
        severity="warning",
        why="Model APIs take ^[a-zA-Z0-9_-]{1,64}$; hosts refuse or rename what does not fit.",
        mend="take a name of at most 64 letters, digits, _ and -",
        look=looks.names_for_hosts,
    ),
    Rule(
        id="same-name",
        severity="error",
        why="A client finds what it calls by its name, so only one of several can be reached.",
        mend="give each a name of its own",
        look=looks.same_names,
    ),
    Rule(
        id="near-name",
        severity="warning",
        why="A model takes one for the other, and some hosts make the same name of both.",
        mend="make the names differ by a word",
        look=looks.near_names,
    ),
    Rule(
        id="tool-description",
        severity="warning",
        why="A model chooses a tool by its description.",
        mend="say in a sentence or two what it does, and when to use it",
        look=looks.no_description,
    ),
    Rule(
        id="long-description",
        severity="warning",
        why=f"Some hosts cut descriptions off after {looks.LONGEST_DESCRIPTION} characters, and all of it costs.",
        mend="say what decides whether to call it; move the rest to a resource or the instructions",
        look=looks.long_description,
    ),
    Rule(
        id="argument-description",
        severity="warning",
        why="A model guesses what an argument means from its name alone.",
        mend="describe each argument: in the docstring's Args, or by Annotated[type, 'what it is']",
        look=looks.silent_arguments,
    ),
    Rule(
        id="schema-valid",
        severity="error",
        why="Clients check calls and results against the schema, and drop a tool whose schema is none.",
        mend="mend the schema; it is JSON Schema 2020-12 unless it names another by $schema",
        look=looks.invalid_schemas,
    ),
    Rule(
        id="schema-object",
        severity="error",
        why="Arguments are an object; the protocol demands type 'object' at the top of an input schema.",
        mend="put the value into a property of an object",
        look=looks.no_objects,
    ),
    Rule(
        id="schema-combined",
        severity="warning",
        why="Several model APIs refuse anyOf, oneOf, allOf, not and enum at the top of a tool's schema.",
        mend="make it one object, with the alternatives in a property, or several tools",
        look=looks.combined_at_top,
    ),
    Rule(
        id="schema-reference",
        severity="note",
        why="Some hosts do not follow $ref, and show their model arguments without a type.",
        mend="write the type out where it is used, if such hosts matter",
        look=looks.references,
    ),
    Rule(
        id="schema-remote-reference",
        severity="error",
        why="A client must not fetch what a schema refers to, so nobody can check it.",
        mend="copy what it refers to into $defs",
        look=looks.remote_references,
    ),
    Rule(
        id="schema-recursive",
        severity="warning",
        why="Hosts that write references out never come to an end, or refuse the tool.",
        mend="bound the depth, or take the structure as JSON text",
        look=looks.recursive,
    ),
    Rule(
        id="schema-depth",
        severity="warning",
        why=f"Beyond {looks.DEEPEST_SCHEMA} levels some model APIs refuse a schema, and models err in it.",
        mend="flatten it, or make several tools",
        look=looks.deep,
    ),
    Rule(
        id="schema-pattern",
        severity="error",
        why="A pattern is ECMA-262's; clients refuse the tool for any other, and some of them the whole list.",
        mend="write it without (?P<…>), (?i), \\A, \\Z and the like; or check it in the tool, and describe it",
        look=looks.foreign_patterns,
    ),
    Rule(
        id="schema-default",
        severity="warning",
        why="Hosts fill in defaults, and the call is refused for what its own schema does not allow.",
        mend="leave the default out, or allow it (null too, by anyOf with type null)",
        look=looks.wrong_defaults,
    ),
    Rule(
        id="schema-format",
        severity="note",
        why="Validators know the formats of JSON Schema, and warn of any other or refuse it.",
        mend="say in the description what the text is like",
        look=looks.unknown_formats,
    ),
    Rule(
        id="schema-output-format",
        severity="note",
        why="Clients refuse a result for a date-time without an offset and the like, when the tool has run.",
        mend="leave the format out, unless whatever is sent surely keeps to RFC 3339 or ECMA-262",
        look=looks.often_broken_formats,
    ),
    Rule(
        id="schema-items",
        severity="warning",
        why="Some hosts and model APIs refuse an array that does not say what its items are.",
        mend='add "items", beside "prefixItems" too; {} is anything',
        look=looks.arrays_without_items,
    ),
    Rule(
        id="many-tools",
        severity="warning",
        why=f"Some hosts offer {looks.MOST_TOOLS} tools and no more, and models choose worse among many.",
        mend="merge tools, or split the server",
        look=looks.many_tools,
    ),
    Rule(
        id="tool-cost",
        severity="warning",
        why="The list of tools stands before every question, and takes its room.",
        mend="shorten descriptions, flatten schemas, drop tools that nobody needs",
        look=looks.dear_tools,
    ),
    Rule(
        id="annotations",
        severity="note",
        why="Hosts ask their user before each call of a tool that does not say that it only reads.",
        mend="say so by annotations: readOnlyHint, destructiveHint, idempotentHint, openWorldHint",
        look=looks.no_annotations,
    ),
    Rule(
        id="secret-default",
        severity="error",
        why="A default is shown to every client and every model.",
        mend="take it out and change it; a tool gets secrets from the server's environment",
        look=looks.secrets,
    ),
    Rule(
        id="description",
        severity="note",
        why="Users and models choose prompts and resources by their descriptions.",
        mend="describe it in a sentence",
        look=looks.silent_others,
    ),
)
