"""Enfilade: write one function; every MCP client can call it.

This is only the face: it hands names on, each imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from enfilade._version import __version__

if TYPE_CHECKING:
    from enfilade.app import MCPApp
    from enfilade.primitives.errors import ToolError
    from enfilade.primitives.media import Audio, File, Image
    from enfilade.primitives.modules import tool
    from enfilade.primitives.results import ToolResult
    from enfilade.serving.context import Context
    from enfilade.serving.exchange import Request
    from enfilade.serving.peer import Peer
    from enfilade.settings import Settings
    from enfilade.transports.memory import connect
    from enfilade.wire.content import (
        Annotations,
        AudioContent,
        BlobResourceContents,
        EmbeddedResource,
        Icon,
        ImageContent,
        ResourceLink,
        TextContent,
        TextResourceContents,
    )
    from enfilade.wire.tools import ToolAnnotations

_HOMES = {
    "MCPApp": "enfilade.app",
    "Context": "enfilade.serving.context",
    "Request": "enfilade.serving.exchange",
    "Peer": "enfilade.serving.peer",
    "Settings": "enfilade.settings",
    "ToolError": "enfilade.primitives.errors",
    "ToolResult": "enfilade.primitives.results",
    "Audio": "enfilade.primitives.media",
    "File": "enfilade.primitives.media",
    "Image": "enfilade.primitives.media",
    "tool": "enfilade.primitives.modules",
    "connect": "enfilade.transports.memory",
    "Annotations": "enfilade.wire.content",
    "AudioContent": "enfilade.wire.content",
    "BlobResourceContents": "enfilade.wire.content",
    "EmbeddedResource": "enfilade.wire.content",
    "Icon": "enfilade.wire.content",
    "ImageContent": "enfilade.wire.content",
    "ResourceLink": "enfilade.wire.content",
    "TextContent": "enfilade.wire.content",
    "TextResourceContents": "enfilade.wire.content",
    "ToolAnnotations": "enfilade.wire.tools",
}

__all__ = [
    "Annotations",
    "Audio",
    "AudioContent",
    "BlobResourceContents",
    "Context",
    "EmbeddedResource",
    "File",
    "Icon",
    "Image",
    "ImageContent",
    "MCPApp",
    "Peer",
    "Request",
    "ResourceLink",
    "Settings",
    "TextContent",
    "TextResourceContents",
    "ToolAnnotations",
    "ToolError",
    "ToolResult",
    "__version__",
    "connect",
    "tool",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'enfilade' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
