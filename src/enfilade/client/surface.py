"""The surface of a server: its capabilities and lists, as plain data.

Easy to get wrong: a list with an endless sequence of pages. A repeated cursor is an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from mcp import Client

Item = dict[str, Any]

_MOST_PAGES: Final = 1000
_METHOD_NOT_FOUND: Final = -32601
_SKILLS: Final = "io.modelcontextprotocol/skills"


class EndlessListError(Exception):
    """The pages of a list do not end; the text says which."""


class Surface(Struct, kw_only=True):
    """The surface of a server, with the protocol's names.

    Attributes:
        revision: the negotiated protocol revision.
        server: the server's name, version and other information; empty if it sends none.
        capabilities: the capabilities of the server.
        instructions: the instructions of the server.
        tools: the listed tools, of all pages.
        resources: the listed resources.
        templates: the listed resource templates.
        prompts: the listed prompts.
        skills: the listed skills, of a server with the extension for them.
    """

    revision: str = ""
    server: Item = msgspec.field(default_factory=dict)
    capabilities: Item = msgspec.field(default_factory=dict)
    instructions: str | None = None
    tools: list[Item] = msgspec.field(default_factory=list)
    resources: list[Item] = msgspec.field(default_factory=list)
    templates: list[Item] = msgspec.field(default_factory=list)
    prompts: list[Item] = msgspec.field(default_factory=list)
    skills: list[Item] = msgspec.field(default_factory=list)


async def read_surface(client: Client) -> Surface:
    """Request the surface of a server.

    Raises:
        EndlessListError: the pages of a list do not end.
        mcp.MCPError: the server responds with an error.
        pydantic.ValidationError: a response violates the protocol.
    """
    capabilities = client.server_capabilities
    surface = Surface(
        revision=client.protocol_version,
        server=_plain(client.server_info) if client.server_info is not None else {},
        capabilities=_plain(capabilities),
        instructions=client.instructions,
    )
    if capabilities.tools is not None:
        surface.tools = await list_tools(client)
    if capabilities.resources is not None:
        surface.resources = await _all("resources/list", client.list_resources, "resources")
        surface.templates = await _all(
            "resources/templates/list", client.list_resource_templates, "resource_templates"
        )
    if capabilities.prompts is not None:
        surface.prompts = await _all("prompts/list", client.list_prompts, "prompts")
    if _SKILLS in (capabilities.extensions or {}):
        surface.skills = await _all("skills/list", partial(_page_of_skills, client), "skills")
    return surface


async def list_tools(client: Client) -> list[Item]:
    """Return the tools that a server lists, of all pages.

    Raises:
        EndlessListError: the pages do not end.
        mcp.MCPError: the server responds with an error.
    """
    return await _all("tools/list", client.list_tools, "tools")


def arguments_of(tool: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], bool]]:
    """Return the arguments of a listed tool: name, schema, whether it is required."""
    schema = tool.get("inputSchema", {})
    required = set(schema.get("required", ()))
    return [(name, argument, name in required) for name, argument in schema.get("properties", {}).items()]


async def _all(method: str, request_page: Callable[..., Awaitable[Any]], key: str) -> list[Item]:
    from mcp import MCPError

    items: list[Item] = []
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        try:
            page = await request_page(cursor=cursor)
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


async def _page_of_skills(client: Client, cursor: str | None) -> Any:
    """Request a page of skills, of which the official client knows nothing."""
    from mcp_types import Request
    from pydantic import RootModel

    params = {} if cursor is None else {"cursor": cursor}
    request = Request[dict[str, Any], str](method="skills/list", params=params)
    page = (await client.session.send_request(request, RootModel[dict[str, Any]])).root
    return SimpleNamespace(skills=page["skills"], next_cursor=page.get("nextCursor"))


def _plain(model: Any) -> Item:
    if isinstance(model, dict):
        return model
    item: Item = model.model_dump(by_alias=True, exclude_none=True, mode="json")
    return item
