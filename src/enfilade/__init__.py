"""Enfilade: write one function; every MCP client can call it.

This is only the face: it hands names on, each imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from enfilade._version import __version__

if TYPE_CHECKING:
    from enfilade.app import MCPApp
    from enfilade.primitives.caching import Caching
    from enfilade.primitives.choices import Choices
    from enfilade.primitives.depends import Depends
    from enfilade.primitives.errors import (
        AnswerError,
        EnfiladeError,
        PromptError,
        ResourceError,
        ResourceNotFound,
        ToolError,
    )
    from enfilade.primitives.input_required import InputRequired, InputResponses
    from enfilade.primitives.media import Audio, File, Image
    from enfilade.primitives.messages import AssistantMessage, Message, PromptResult, UserMessage
    from enfilade.primitives.modules import tool
    from enfilade.primitives.question import (
        Elicited,
        NotAccepted,
        elicitation,
        roots,
        sampling,
        text_of,
        url_elicitation,
    )
    from enfilade.primitives.results import ToolResult
    from enfilade.serving.context import Context
    from enfilade.serving.exchange import Request
    from enfilade.serving.peer import Peer
    from enfilade.serving.unanswered import (
        AskTimeoutError,
        CannotAskError,
        ClientRefusedError,
        MissingCapabilityError,
    )
    from enfilade.settings import Settings
    from enfilade.state.event_store import EventCallback, EventId, EventMessage, EventStore, StreamId
    from enfilade.state.kept_events import MemoryEventStore, SqliteEventStore
    from enfilade.testing.connecting import connect
    from enfilade.transports.duplex import HTTPStreamableTransport
    from enfilade.transports.loop_messages import RelatedMessage, as_dict, as_session_message, as_text
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
    from enfilade.wire.roots import Root
    from enfilade.wire.sampling import CreateMessageResult, ModelPreferences, SamplingMessage
    from enfilade.wire.tools import ToolAnnotations

_HOMES = {
    "HTTPStreamableTransport": "enfilade.transports.duplex",
    "EventStore": "enfilade.state.event_store",
    "EventMessage": "enfilade.state.event_store",
    "EventId": "enfilade.state.event_store",
    "StreamId": "enfilade.state.event_store",
    "EventCallback": "enfilade.state.event_store",
    "MemoryEventStore": "enfilade.state.kept_events",
    "SqliteEventStore": "enfilade.state.kept_events",
    "RelatedMessage": "enfilade.transports.loop_messages",
    "as_dict": "enfilade.transports.loop_messages",
    "as_text": "enfilade.transports.loop_messages",
    "as_session_message": "enfilade.transports.loop_messages",
    "Choices": "enfilade.primitives.choices",
    "AnswerError": "enfilade.primitives.errors",
    "InputRequired": "enfilade.primitives.input_required",
    "InputResponses": "enfilade.primitives.input_required",
    "Elicited": "enfilade.primitives.question",
    "NotAccepted": "enfilade.primitives.question",
    "elicitation": "enfilade.primitives.question",
    "roots": "enfilade.primitives.question",
    "sampling": "enfilade.primitives.question",
    "text_of": "enfilade.primitives.question",
    "url_elicitation": "enfilade.primitives.question",
    "AskTimeoutError": "enfilade.serving.unanswered",
    "CannotAskError": "enfilade.serving.unanswered",
    "ClientRefusedError": "enfilade.serving.unanswered",
    "MissingCapabilityError": "enfilade.serving.unanswered",
    "Root": "enfilade.wire.roots",
    "CreateMessageResult": "enfilade.wire.sampling",
    "ModelPreferences": "enfilade.wire.sampling",
    "SamplingMessage": "enfilade.wire.sampling",
    "Caching": "enfilade.primitives.caching",
    "PromptResult": "enfilade.primitives.messages",
    "AssistantMessage": "enfilade.primitives.messages",
    "UserMessage": "enfilade.primitives.messages",
    "Message": "enfilade.primitives.messages",
    "PromptError": "enfilade.primitives.errors",
    "ResourceNotFound": "enfilade.primitives.errors",
    "ResourceError": "enfilade.primitives.errors",
    "EnfiladeError": "enfilade.primitives.errors",
    "MCPApp": "enfilade.app",
    "Context": "enfilade.serving.context",
    "Request": "enfilade.serving.exchange",
    "Depends": "enfilade.primitives.depends",
    "Peer": "enfilade.serving.peer",
    "Settings": "enfilade.settings",
    "ToolError": "enfilade.primitives.errors",
    "ToolResult": "enfilade.primitives.results",
    "Audio": "enfilade.primitives.media",
    "File": "enfilade.primitives.media",
    "Image": "enfilade.primitives.media",
    "tool": "enfilade.primitives.modules",
    "connect": "enfilade.testing.connecting",
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
    "AnswerError",
    "AskTimeoutError",
    "AssistantMessage",
    "Audio",
    "AudioContent",
    "BlobResourceContents",
    "Caching",
    "CannotAskError",
    "Choices",
    "ClientRefusedError",
    "Context",
    "CreateMessageResult",
    "Depends",
    "Elicited",
    "EmbeddedResource",
    "EnfiladeError",
    "EventCallback",
    "EventId",
    "EventMessage",
    "EventStore",
    "File",
    "HTTPStreamableTransport",
    "Icon",
    "Image",
    "ImageContent",
    "InputRequired",
    "InputResponses",
    "MCPApp",
    "MemoryEventStore",
    "Message",
    "MissingCapabilityError",
    "ModelPreferences",
    "NotAccepted",
    "Peer",
    "PromptError",
    "PromptResult",
    "RelatedMessage",
    "Request",
    "ResourceError",
    "ResourceLink",
    "ResourceNotFound",
    "Root",
    "SamplingMessage",
    "Settings",
    "SqliteEventStore",
    "StreamId",
    "TextContent",
    "TextResourceContents",
    "ToolAnnotations",
    "ToolError",
    "ToolResult",
    "UserMessage",
    "__version__",
    "as_dict",
    "as_session_message",
    "as_text",
    "connect",
    "elicitation",
    "roots",
    "sampling",
    "text_of",
    "tool",
    "url_elicitation",
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
