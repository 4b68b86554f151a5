"""Enfilade: write one function; every MCP client can call it.

This is only the face: it hands names on, each imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from enfilade._version import __version__

if TYPE_CHECKING:
    from enfilade.app import MCPApp
    from enfilade.client.connect import connect
    from enfilade.primitives.caching import Caching
    from enfilade.primitives.depends import Depends
    from enfilade.primitives.errors import (
        AnswerError,
        EnfiladeError,
        PromptError,
        ResourceError,
        ResourceNotFound,
        ToolError,
    )
    from enfilade.primitives.questions.choices import Choices
    from enfilade.primitives.questions.input_required import InputRequired, InputResponses
    from enfilade.primitives.questions.question import (
        Elicited,
        NotAccepted,
        elicitation,
        roots,
        sampling,
        text_of,
        url_elicitation,
    )
    from enfilade.primitives.tool_decorator import tool
    from enfilade.primitives.values.media import Audio, File, Image
    from enfilade.primitives.values.messages import AssistantMessage, Message, PromptResult, UserMessage
    from enfilade.primitives.values.results import ToolResult
    from enfilade.serving.client_requests.errors import (
        AskTimeoutError,
        CannotAskError,
        ClientRefusedError,
        MissingCapabilityError,
    )
    from enfilade.serving.context import Context
    from enfilade.serving.peer import Peer
    from enfilade.serving.request import Request
    from enfilade.settings import Settings
    from enfilade.state.event_store import EventCallback, EventId, EventMessage, EventStore, StreamId
    from enfilade.state.event_stores import MemoryEventStore, SqliteEventStore
    from enfilade.transports.bridge.messages import RelatedMessage, as_dict, as_session_message, as_text
    from enfilade.transports.bridge.transport import HTTPStreamableTransport
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
    "HTTPStreamableTransport": "enfilade.transports.bridge.transport",
    "EventStore": "enfilade.state.event_store",
    "EventMessage": "enfilade.state.event_store",
    "EventId": "enfilade.state.event_store",
    "StreamId": "enfilade.state.event_store",
    "EventCallback": "enfilade.state.event_store",
    "MemoryEventStore": "enfilade.state.event_stores",
    "SqliteEventStore": "enfilade.state.event_stores",
    "RelatedMessage": "enfilade.transports.bridge.messages",
    "as_dict": "enfilade.transports.bridge.messages",
    "as_text": "enfilade.transports.bridge.messages",
    "as_session_message": "enfilade.transports.bridge.messages",
    "Choices": "enfilade.primitives.questions.choices",
    "AnswerError": "enfilade.primitives.errors",
    "InputRequired": "enfilade.primitives.questions.input_required",
    "InputResponses": "enfilade.primitives.questions.input_required",
    "Elicited": "enfilade.primitives.questions.question",
    "NotAccepted": "enfilade.primitives.questions.question",
    "elicitation": "enfilade.primitives.questions.question",
    "roots": "enfilade.primitives.questions.question",
    "sampling": "enfilade.primitives.questions.question",
    "text_of": "enfilade.primitives.questions.question",
    "url_elicitation": "enfilade.primitives.questions.question",
    "AskTimeoutError": "enfilade.serving.client_requests.errors",
    "CannotAskError": "enfilade.serving.client_requests.errors",
    "ClientRefusedError": "enfilade.serving.client_requests.errors",
    "MissingCapabilityError": "enfilade.serving.client_requests.errors",
    "Root": "enfilade.wire.roots",
    "CreateMessageResult": "enfilade.wire.sampling",
    "ModelPreferences": "enfilade.wire.sampling",
    "SamplingMessage": "enfilade.wire.sampling",
    "Caching": "enfilade.primitives.caching",
    "PromptResult": "enfilade.primitives.values.messages",
    "AssistantMessage": "enfilade.primitives.values.messages",
    "UserMessage": "enfilade.primitives.values.messages",
    "Message": "enfilade.primitives.values.messages",
    "PromptError": "enfilade.primitives.errors",
    "ResourceNotFound": "enfilade.primitives.errors",
    "ResourceError": "enfilade.primitives.errors",
    "EnfiladeError": "enfilade.primitives.errors",
    "MCPApp": "enfilade.app",
    "Context": "enfilade.serving.context",
    "Request": "enfilade.serving.request",
    "Depends": "enfilade.primitives.depends",
    "Peer": "enfilade.serving.peer",
    "Settings": "enfilade.settings",
    "ToolError": "enfilade.primitives.errors",
    "ToolResult": "enfilade.primitives.values.results",
    "Audio": "enfilade.primitives.values.media",
    "File": "enfilade.primitives.values.media",
    "Image": "enfilade.primitives.values.media",
    "tool": "enfilade.primitives.tool_decorator",
    "connect": "enfilade.client.connect",
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
