"""`enfilade inspect TARGET`: show the surface of a server, as tables or as JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from enfilade.cli.command import Command, Option
from enfilade.cli.console import plain, print_json, tables, words
from enfilade.cli.options import era_option, header_option, server_argument, timeout_option
from enfilade.cli.targets import headers_of, target_of, with_client
from enfilade.client.json_values import alternatives, type_name
from enfilade.client.surface import Item, Surface, read_surface
from enfilade.wire.revisions import STATELESS


def _inspect(target: Sequence[str], as_json: bool, era: str, header: Sequence[str], timeout: float) -> None:
    """Show what a server offers: tools with their arguments, resources, prompts, instructions."""
    console = tables()
    surface = with_client(
        target_of(target), read_surface, era=era, headers=headers_of(header), timeout=timeout, log_level=None
    )
    if as_json:
        print_json(console, msgspec.to_builtins(surface))
    else:
        print_surface(console, surface)


inspect: Final = Command(
    "inspect",
    _inspect,
    params=[
        server_argument(),
        Option(["as_json", "--json"], is_flag=True, help="Print JSON, under the protocol's names."),
        era_option(),
        header_option(),
        timeout_option(30.0),
    ],
    examples=[
        "inspect server.py",
        "inspect http://127.0.0.1:8000/mcp --json",
        "inspect -- npx some-server --its-option",
    ],
)


# -- The surface as text: readable at 80 columns, and without a terminal ---
Row = tuple[str, str, str, str]  # name, type, whether it is required or its default, description

#: What annotations of a tool mean to people, by what is said.
_HINTS: Final = {
    ("readOnlyHint", True): "reads only",
    ("readOnlyHint", False): "changes things",
    ("destructiveHint", True): "may destroy",
    ("destructiveHint", False): "only adds",
    ("idempotentHint", True): "can be repeated",
    ("openWorldHint", True): "reaches the outside",
    ("openWorldHint", False): "stays inside",
}


def print_surface(console: Console, surface: Surface) -> None:
    """Print all that a server tells of itself."""
    console.print(_heading(surface))
    if surface.instructions:
        console.print(Padding(words(surface.instructions), (0, 0, 0, 2), expand=False))
    console.print(Padding(_capabilities(surface.capabilities), (0, 0, 0, 2), expand=False))
    _print_section(console, "Tools", [_tool(tool) for tool in surface.tools])
    _print_section(console, "Resources", [_listed(each, each.get("uri", "")) for each in surface.resources])
    _print_section(
        console, "Templates", [_listed(each, each.get("uriTemplate", "")) for each in surface.templates]
    )
    _print_section(console, "Prompts", [_prompt(prompt) for prompt in surface.prompts])


def _heading(surface: Surface) -> Text:
    name = plain(surface.server.get("title") or surface.server.get("name") or "a server without a name")
    era = "stateless" if surface.revision in STATELESS else "session"
    return Text.assemble(
        (name, "bold"),
        " ",
        plain(surface.server.get("version", "")),
        "  ",
        (f"{surface.revision} ({era})", "cyan"),
    )


def _capabilities(capabilities: Item) -> Text:
    found = [
        f"{name} ({', '.join(_flags(value))})" if _flags(value) else name for name, value in capabilities.items()
    ]
    return Text.assemble(("can: ", "dim"), plain(", ".join(found) or "nothing"))


def _flags(value: Any) -> list[str]:
    return [key for key, on in value.items() if on] if isinstance(value, Mapping) else []


def _print_section(console: Console, title: str, entries: list[Group]) -> None:
    if not entries:
        return
    console.print()
    console.print(Text(f"{title} ({len(entries)})", "bold underline"))
    for entry in entries:
        console.print(Padding(entry, (0, 0, 0, 2)))


def _entry(name: str, *lines: Any) -> Group:
    return Group(words(name, "bold green"), *(Padding(line, (0, 0, 0, 2)) for line in lines if line))


def _tool(tool: Item) -> Group:
    schema = tool.get("inputSchema", {})
    rows = list(_inner("", schema, schema, frozenset()))
    output = tool.get("outputSchema")
    returned = _returned(output) if isinstance(output, Mapping) else []
    return _entry(
        tool["name"],
        words(tool.get("description") or "(no description)"),
        words(_hints(tool.get("annotations") or {}), "yellow"),
        _table(rows),
        *returned,
    )


def _returned(output: Mapping[str, Any]) -> list[Any]:
    """Return the line that says what a tool returns, and a table of the members of objects in that."""
    members = output.get("properties")
    if isinstance(members, Mapping) and members:
        line = ", ".join(f"{key}: {type_name(part, output)}" for key, part in members.items())
    else:
        members, line = {}, type_name(output, output)
    rows = [row for row in _inner("", output, output, frozenset()) if row[0] not in members]
    shown = [(name, kind, "" if needed == "required" else "optional", text) for name, kind, needed, text in rows]
    return [words(f"→ {line}", "dim"), _table(shown)]


def _rows(
    name: str,
    part: Mapping[str, Any],
    required: bool,
    root: Mapping[str, Any],
    within: frozenset[int] = frozenset(),
) -> Iterator[Row]:
    """Yield a row for an argument, and one for each member of the objects in it.

    Its name leads there: `contact.city`, `lines[].text` in an array, `pair[0].text` at a place in it,
    `people{}.city` under any key.

    Args:
        name: of the argument or member.
        part: its schema.
        required: whether it has to be there.
        root: the schema that references lead into.
        within: the objects that this one is in, so that one that contains itself is shown once.
    """
    yield name, type_name(part, root), _needed(part, required), str(part.get("description", ""))
    yield from _inner(name, part, root, within)


def _inner(name: str, part: Mapping[str, Any], root: Mapping[str, Any], within: frozenset[int]) -> Iterator[Row]:
    """Yield the rows of what lies within a value."""
    for path, objects in _objects(name, alternatives(part, root), root, within).items():
        inside = within | {id(each["properties"]) for each in objects}
        members = {key: member for each in objects for key, member in each["properties"].items()}
        for key, member in members.items():
            needed = all(key in each.get("required", ()) for each in objects)
            schema = member if isinstance(member, Mapping) else {}
            yield from _rows(f"{path}.{key}" if path else key, schema, needed, root, inside)


def _objects(
    name: str, options: Iterable[Mapping[str, Any]], root: Mapping[str, Any], within: frozenset[int]
) -> dict[str, list[Mapping[str, Any]]]:
    """Return the objects with named members that a value is or holds, by the way to them."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for option in options:
        if isinstance(option.get("properties"), Mapping) and id(option["properties"]) not in within:
            found.setdefault(name, []).append(option)
        for step, held in _contents(option):
            if id(held) not in within:
                deeper = _objects(name + step, alternatives(held, root), root, within | {id(held)})
                for path, objects in deeper.items():
                    found.setdefault(path, []).extend(objects)
    return found


def _contents(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the schemas of what an array or a mapping holds, each with the step that leads there."""
    places = schema.get("prefixItems")
    numbered = list(enumerate(places)) if isinstance(places, list) else []
    patterns = schema.get("patternProperties")
    steps = [
        *((f"[{number}]", held) for number, held in numbered),
        ("[]", schema.get("items")),
        ("{}", schema.get("additionalProperties")),
        *(("{}", held) for held in (patterns.values() if isinstance(patterns, Mapping) else ())),
    ]
    yield from ((step, held) for step, held in steps if isinstance(held, Mapping))


def _needed(part: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    return f"= {part['default']!r}" if "default" in part else "optional"


def _hints(annotations: Mapping[str, Any]) -> str:
    return ", ".join(said for (key, value), said in _HINTS.items() if annotations.get(key) is value)


def _listed(each: Item, address: str) -> Group:
    kind = f"  ({each['mimeType']})" if each.get("mimeType") else ""
    return _entry(
        address, words(f"{each.get('title') or each['name']}{kind}"), words(each.get("description") or "")
    )


def _prompt(prompt: Item) -> Group:
    rows = [
        (each["name"], "string", "required" if each.get("required") else "optional", each.get("description", ""))
        for each in prompt.get("arguments") or ()
    ]
    return _entry(prompt["name"], words(prompt.get("description") or ""), _table(rows))


def _table(rows: Iterable[Row]) -> Table | None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for style, whole in (("cyan", True), ("magenta", False), ("dim", False), ("", False)):
        table.add_column(style=style, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(words(cell) for cell in row))
    return table if table.row_count else None
