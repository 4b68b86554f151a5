"""The surface of a server: all that it tells a client of itself, as plain data.

Easy to get wrong: a list whose pages lead in a circle. A cursor that comes again ends the reading.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from mcp import Client

Item = dict[str, Any]

_MOST_PAGES: Final = 1000
_METHOD_NOT_FOUND: Final = -32601


class EndlessListError(Exception):
    """The pages of a list do not end; the text says which."""


class Surface(Struct, kw_only=True):
    """What a server offers, under the protocol's names.

    Attributes:
        revision: of the protocol, as it was agreed on.
        server: name, version and so on; empty if the server does not say.
        capabilities: what it is capable of.
        instructions: how to use it.
        tools: as listed, all pages.
        resources: as listed.
        templates: as listed.
        prompts: as listed.
    """

    revision: str = ""
    server: Item = msgspec.field(default_factory=dict)
    capabilities: Item = msgspec.field(default_factory=dict)
    instructions: str | None = None
    tools: list[Item] = msgspec.field(default_factory=list)
    resources: list[Item] = msgspec.field(default_factory=list)
    templates: list[Item] = msgspec.field(default_factory=list)
    prompts: list[Item] = msgspec.field(default_factory=list)


async def read_surface(client: Client) -> Surface:
    """Ask a server for all that it offers.

    Raises:
        EndlessListError: the pages of a list do not end.
        mcp.MCPError: it answers with an error.
        pydantic.ValidationError: what it answers is against the protocol.
    """
    can = client.server_capabilities
    surface = Surface(
        revision=client.protocol_version,
        server=_plain(client.server_info) if client.server_info is not None else {},
        capabilities=_plain(can),
        instructions=client.instructions,
    )
    if can.tools is not None:
        surface.tools = await list_tools(client)
    if can.resources is not None:
        surface.resources = await _all("resources/list", client.list_resources, "resources")
        surface.templates = await _all(
            "resources/templates/list", client.list_resource_templates, "resource_templates"
        )
    if can.prompts is not None:
        surface.prompts = await _all("prompts/list", client.list_prompts, "prompts")
    return surface


async def list_tools(client: Client) -> list[Item]:
    """Return all pages of the tools that a server lists.

    Raises:
        EndlessListError: they do not end.
        mcp.MCPError: it answers with an error.
    """
    return await _all("tools/list", client.list_tools, "tools")


def arguments_of(tool: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], bool]]:
    """Return the arguments of a listed tool: name, schema, whether it is required."""
    schema = tool.get("inputSchema", {})
    required = set(schema.get("required", ()))
    return [(name, part, name in required) for name, part in schema.get("properties", {}).items()]


async def _all(method: str, ask: Callable[..., Awaitable[Any]], key: str) -> list[Item]:
    from mcp import MCPError

    items: list[Item] = []
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        try:
            page = await ask(cursor=cursor)
        except MCPError as error:
            if error.code == _METHOD_NOT_FOUND and not seen:
                return []
            raise
        items.extend(_plain(item) for item in getattr(page, key))
        cursor = page.next_cursor
        if cursor is None:
            return items
        if cursor in seen or len(seen) >= _MOST_PAGES:
            raise EndlessListError(
                f"the pages of {method} do not end: cursor {cursor!r} after {len(seen) + 1} pages"
            )
        seen.add(cursor)


def _plain(model: Any) -> Item:
    found: Item = model.model_dump(by_alias=True, exclude_none=True, mode="json")
    return found
