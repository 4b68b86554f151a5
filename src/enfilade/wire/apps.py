"""MCP Apps (`io.modelcontextprotocol/ui`): what tools and resources say of their views, in `_meta.ui`.

A view is an HTML document at a `ui://` URI, which hosts show in a sandbox beside the result of a tool (SEP-1865,
ext-apps specification 2026-01-26). Between a view and its host messages pass that no server sees.

Easy to get wrong: an absent `csp` allows nothing from outside, and so does an empty list in it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import UNSET, UnsetType

from enfilade.wire.lifecycle import PREFIX
from enfilade.wire.message import Message

#: The id of the extension.
APPS: Final = PREFIX + "ui"
#: The media type of views, written exactly so (X-APP-4).
VIEW_TYPE: Final = "text/html;profile=mcp-app"
#: What URIs of views begin with.
VIEW_SCHEME: Final = "ui://"
#: The deprecated place of a tool's `resourceUri` in `_meta`, which older hosts read (X-APP-3).
FLAT_URI: Final = "ui/resourceUri"

#: An origin in a policy: scheme and host, with `*.` for all names below it. No browser takes IPv6 addresses.
ORIGIN: Final = re.compile(
    r"(?:https?|wss?)://(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9])?(?::(?:\d{1,5}|\*))?", re.IGNORECASE
)

#: Who may call a tool: the model, the view, or both.
Visibility = Literal["model", "app"]


class ToolUi(Message, kw_only=True):
    """The view of a tool (X-APP-3).

    Attributes:
        resource_uri: the `ui://` URI of the view.
        visibility: who may call the tool; both by default. Hosts enforce it, not servers.
    """

    resource_uri: str | UnsetType = UNSET
    visibility: list[Visibility] | UnsetType = UNSET


class ViewCsp(Message, kw_only=True):
    """The origins that a view needs, such as `https://api.example.com`; hosts block all others (X-APP-5).

    Attributes:
        connect_domains: for requests of scripts.
        resource_domains: of scripts, styles, images, fonts and media.
        frame_domains: of frames in the view.
        base_uri_domains: that its `base` element may name.
    """

    connect_domains: list[str] | UnsetType = UNSET
    resource_domains: list[str] | UnsetType = UNSET
    frame_domains: list[str] | UnsetType = UNSET
    base_uri_domains: list[str] | UnsetType = UNSET


class ViewPermissions(Message, kw_only=True):
    """What a view asks of the browser; `{}` asks for it, and hosts may refuse (X-APP-5)."""

    camera: dict[str, Any] | UnsetType = UNSET
    microphone: dict[str, Any] | UnsetType = UNSET
    geolocation: dict[str, Any] | UnsetType = UNSET
    clipboard_write: dict[str, Any] | UnsetType = UNSET


class ViewUi(Message, kw_only=True):
    """How hosts show a view (X-APP-5).

    Attributes:
        domain: the origin that a host gives it, in the form that the host wants.
        prefers_border: whether the host draws a border and a background.
    """

    csp: ViewCsp | UnsetType = UNSET
    permissions: ViewPermissions | UnsetType = UNSET
    domain: str | UnsetType = UNSET
    prefers_border: bool | UnsetType = UNSET


def shows_views(settings: Mapping[str, Any] | None, *, in_session: bool) -> bool:
    """Return whether a client shows views, by the settings with which it declared the extension (X-APP-2).

    Args:
        settings: None if it did not declare it.
        in_session: whether it declared it for a session, where an empty declaration counts (X-EXT-2).
    """
    if not settings:
        return settings is not None and in_session
    types = settings.get("mimeTypes")
    return isinstance(types, list) and VIEW_TYPE in types


def without_other_types(settings: object) -> dict[str, Any]:
    """Return the settings of a client with nothing but whether it shows views, for where there is little room."""
    types = settings.get("mimeTypes") if isinstance(settings, dict) else None
    if not isinstance(types, list):
        return {}
    return {"mimeTypes": [VIEW_TYPE] if VIEW_TYPE in types else []}
