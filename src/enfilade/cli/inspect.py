"""`enfilade inspect TARGET`: show the surface of a server, as tables or as JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from enfilade.app import MCPApp
from enfilade.cli.command import CliCommand, Option
from enfilade.cli.login import LOGIN_OPTIONS, LoginChoice
from enfilade.cli.output import print_json, printable, rich_text, table_console
from enfilade.cli.targets import ERA, HEADER, SERVER, headers_of, target_of, timeout_option, with_client
from enfilade.client.json_values import alternatives, type_name
from enfilade.client.surface import Item, Surface, read_surface
from enfilade.primitives.registry import Registry
from enfilade.wire.revisions import STATELESS


def _inspect(
    target: Sequence[str], as_json: bool, era: str, header: Sequence[str], timeout: float, **login: Any
) -> None:
    """Show what a server offers: tools with their arguments, resources, prompts, instructions.

    Of a server in a file, it also shows which scopes each of them needs; no list of a running server says that.
    """
    console = table_console()
    server = target_of(target)
    surface = with_client(
        server,
        read_surface,
        login=LoginChoice(**login),
        era=era,
        headers=headers_of(header),
        timeout=timeout,
        log_level=None,
    )
    if isinstance(server, MCPApp):
        _add_scopes(surface, server)
    if as_json:
        print_json(console, msgspec.to_builtins(surface))
    else:
        print_surface(console, surface)


inspect: Final = CliCommand(
    "inspect",
    _inspect,
    params=[
        SERVER,
        Option(["as_json", "--json"], is_flag=True, help="Print JSON, under the protocol's names."),
        ERA,
        HEADER,
        timeout_option(30.0),
        *LOGIN_OPTIONS,
    ],
    examples=[
        "inspect server.py",
        "inspect http://127.0.0.1:8000/mcp --json",
        "inspect -- npx some-server --its-option",
    ],
)


def _add_scopes(surface: Surface, app: MCPApp) -> None:
    """Add to each item the scopes that its callers need, which only the app itself says, and no list does."""
    lists: list[tuple[list[Item], Registry[Any], str]] = [
        (surface.tools, app.tools, "name"),
        (surface.resources, app.resources, "uri"),
        (surface.templates, app.templates, "uriTemplate"),
        (surface.prompts, app.prompts, "name"),
    ]
    for listed, registry, key in lists:
        by_name = dict(zip(registry.names(), registry.items(), strict=True))
        for item in listed:
            access = getattr(by_name.get(item[key]), "access", None)
            if access is not None and access.scopes:
                item["requires_scopes"] = list(access.scopes)


# -- The surface as text: readable at 80 columns, and without a terminal ---
Row = tuple[str, str, str, str]  # name, type, whether it is required or its default, description

#: Annotations of a tool, by name and value, in plain words.
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
    """Print the surface of a server."""
    console.print(_heading(surface))
    if surface.instructions:
        console.print(Padding(rich_text(surface.instructions), (0, 0, 0, 2), expand=False))
    console.print(Padding(_capabilities(surface.capabilities), (0, 0, 0, 2), expand=False))
    _print_section(console, "Tools", [_tool(tool) for tool in surface.tools])
    _print_section(console, "Resources", [_resource(item, item.get("uri", "")) for item in surface.resources])
    _print_section(
        console, "Templates", [_resource(item, item.get("uriTemplate", "")) for item in surface.templates]
    )
    _print_section(console, "Prompts", [_prompt(prompt) for prompt in surface.prompts])
    _print_section(console, "Skills", [_skill(skill) for skill in surface.skills])


def _heading(surface: Surface) -> Text:
    name = printable(surface.server.get("title") or surface.server.get("name") or "a server without a name")
    era = "stateless" if surface.revision in STATELESS else "session"
    return Text.assemble(
        (name, "bold"),
        " ",
        printable(surface.server.get("version", "")),
        "  ",
        (f"{surface.revision} ({era})", "cyan"),
    )


def _capabilities(capabilities: Item) -> Text:
    names = [
        f"{name} ({', '.join(_flags(value))})" if _flags(value) else name for name, value in capabilities.items()
    ]
    return Text.assemble(("can: ", "dim"), printable(", ".join(names) or "nothing"))


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
    return Group(rich_text(name, "bold green"), *(Padding(line, (0, 0, 0, 2)) for line in lines if line))


def _tool(tool: Item) -> Group:
    schema = tool.get("inputSchema", {})
    rows = list(_member_rows("", schema, schema, frozenset()))
    output = tool.get("outputSchema")
    returned = _returned(output) if isinstance(output, Mapping) else []
    return _entry(
        tool["name"],
        rich_text(tool.get("description") or "(no description)"),
        rich_text(_hints(tool.get("annotations") or {}), "yellow"),
        _scopes(tool),
        _table(rows),
        *returned,
    )


def _returned(output: Mapping[str, Any]) -> list[Any]:
    """Return a line with the type of a result, and a table of the members of its objects."""
    members = output.get("properties")
    if isinstance(members, Mapping) and members:
        line = ", ".join(f"{key}: {type_name(member, output)}" for key, member in members.items())
    else:
        members, line = {}, type_name(output, output)
    rows = [row for row in _member_rows("", output, output, frozenset()) if row[0] not in members]
    marked = [(name, kind, "" if state == "required" else "optional", text) for name, kind, state, text in rows]
    return [rich_text(f"→ {line}", "dim"), _table(marked)]


def _rows(
    name: str,
    schema: Mapping[str, Any],
    required: bool,
    root: Mapping[str, Any],
    within: frozenset[int] = frozenset(),
) -> Iterator[Row]:
    """Yield a row for an argument, and one for each member of the objects in it.

    A name is a path: `contact.city`, `lines[].text` in an array, `pair[0].text` at an index of it,
    `people{}.city` under any key.
    References resolve in `root`; `within` has the ids of the enclosing objects, so that a recursive one is shown
    once.
    """
    yield name, type_name(schema, root), _requirement(schema, required), str(schema.get("description", ""))
    yield from _member_rows(name, schema, root, within)


def _member_rows(
    name: str, schema: Mapping[str, Any], root: Mapping[str, Any], within: frozenset[int]
) -> Iterator[Row]:
    """Yield the rows of the members of a value."""
    for path, objects in _objects(name, alternatives(schema, root), root, within).items():
        inside = within | {id(item["properties"]) for item in objects}
        members = {key: member for item in objects for key, member in item["properties"].items()}
        for key, member in members.items():
            required = all(key in item.get("required", ()) for item in objects)
            member_schema = member if isinstance(member, Mapping) else {}
            yield from _rows(f"{path}.{key}" if path else key, member_schema, required, root, inside)


def _objects(
    name: str, options: Iterable[Mapping[str, Any]], root: Mapping[str, Any], within: frozenset[int]
) -> dict[str, list[Mapping[str, Any]]]:
    """Return the objects with named members that a value is or contains, by their path."""
    by_path: dict[str, list[Mapping[str, Any]]] = {}
    for option in options:
        if isinstance(option.get("properties"), Mapping) and id(option["properties"]) not in within:
            by_path.setdefault(name, []).append(option)
        for step, element in _elements(option):
            if id(element) not in within:
                nested = _objects(name + step, alternatives(element, root), root, within | {id(element)})
                for path, objects in nested.items():
                    by_path.setdefault(path, []).extend(objects)
    return by_path


def _elements(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the schemas of the elements of an array or a mapping, each with its step of the path."""
    prefix = schema.get("prefixItems")
    numbered = list(enumerate(prefix)) if isinstance(prefix, list) else []
    patterns = schema.get("patternProperties")
    steps = [
        *((f"[{index}]", element) for index, element in numbered),
        ("[]", schema.get("items")),
        ("{}", schema.get("additionalProperties")),
        *(("{}", element) for element in (patterns.values() if isinstance(patterns, Mapping) else ())),
    ]
    yield from ((step, element) for step, element in steps if isinstance(element, Mapping))


def _requirement(schema: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    return f"= {schema['default']!r}" if "default" in schema else "optional"


def _scopes(item: Item) -> Text | None:
    """Return a line with the scopes that an item needs; None if it needs none, or nobody knows."""
    scopes = item.get("requires_scopes")
    return (
        rich_text(f"needs {'scope' if len(scopes) == 1 else 'scopes'} {' '.join(scopes)}", "yellow")
        if scopes
        else None
    )


def _hints(annotations: Mapping[str, Any]) -> str:
    return ", ".join(hint for (key, value), hint in _HINTS.items() if annotations.get(key) is value)


def _resource(item: Item, uri: str) -> Group:
    kind = f"  ({item['mimeType']})" if item.get("mimeType") else ""
    return _entry(
        uri,
        rich_text(f"{item.get('title') or item['name']}{kind}"),
        rich_text(item.get("description") or ""),
        _scopes(item),
    )


def _prompt(prompt: Item) -> Group:
    rows = [
        (
            entry["name"],
            "string",
            "required" if entry.get("required") else "optional",
            entry.get("description", ""),
        )
        for entry in prompt.get("arguments") or ()
    ]
    return _entry(prompt["name"], rich_text(prompt.get("description") or ""), _scopes(prompt), _table(rows))


def _skill(skill: Item) -> Group:
    front_matter, resources = skill.get("frontmatter") or {}, skill.get("resources")
    if isinstance(resources, list):
        size = sum(resource.get("size", 0) for resource in resources)
        files = f"{len(resources)} file{'' if len(resources) == 1 else 's'}, {size:,} bytes"
    else:
        files = "written at each request"
    return _entry(
        skill.get("uri", ""), rich_text(str(front_matter.get("description") or "")), rich_text(files, "dim")
    )


def _table(rows: Iterable[Row]) -> Table | None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for style, no_wrap in (("cyan", True), ("magenta", False), ("dim", False), ("", False)):
        table.add_column(style=style, overflow="fold", no_wrap=no_wrap)
    for row in rows:
        table.add_row(*(rich_text(cell) for cell in row))
    return table if table.row_count else None
