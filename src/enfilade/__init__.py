"""Enfilade: write one function; every MCP client can call it.

This is only the face: it hands names on, each imported when it is first asked for.
"""

import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from enfilade.app import MCPApp as MCPApp
    from enfilade.client.connect import connect as connect
    from enfilade.exceptions import (
        AnswerError as AnswerError,
        AskTimeoutError as AskTimeoutError,
        AuthError as AuthError,
        CannotAskError as CannotAskError,
        ClientRefusedError as ClientRefusedError,
        EnfiladeError as EnfiladeError,
        LoadError as LoadError,
        MissingCapabilityError as MissingCapabilityError,
        MissingSecretError as MissingSecretError,
        NotAccepted as NotAccepted,
        PromptError as PromptError,
        ResourceError as ResourceError,
        ResourceNotFound as ResourceNotFound,
        SettingsError as SettingsError,
        StateError as StateError,
        StoreError as StoreError,
        ToolError as ToolError,
        ToolTimeoutError as ToolTimeoutError,
    )
    from enfilade.primitives.depends import Depends as Depends
    from enfilade.primitives.metadata import Caching as Caching
    from enfilade.primitives.options import (
        PromptOptions as PromptOptions,
        ResourceOptions as ResourceOptions,
        ToolOptions as ToolOptions,
        ViewOptions as ViewOptions,
    )
    from enfilade.primitives.prompt import (
        AssistantMessage as AssistantMessage,
        Message as Message,
        PromptResult as PromptResult,
        UserMessage as UserMessage,
    )
    from enfilade.primitives.questions import Choices as Choices
    from enfilade.primitives.questions.input_required import (
        InputRequired as InputRequired,
        InputResponses as InputResponses,
    )
    from enfilade.primitives.questions.question import (
        Elicited as Elicited,
        elicitation as elicitation,
        roots as roots,
        sampling as sampling,
        text_of as text_of,
        url_elicitation as url_elicitation,
    )
    from enfilade.primitives.tool_decorator import tool as tool
    from enfilade.primitives.values.media import Audio as Audio, File as File, Image as Image
    from enfilade.primitives.values.results import ToolResult as ToolResult
    from enfilade.serving.callers.http_request import HttpRequest as HttpRequest
    from enfilade.serving.channel import Peer as Peer
    from enfilade.serving.context import Context as Context
    from enfilade.serving.request import Request as Request
    from enfilade.settings import Settings as Settings
    from enfilade.state.event_store import (
        EventCallback as EventCallback,
        EventId as EventId,
        EventMessage as EventMessage,
        EventStore as EventStore,
        MemoryEventStore as MemoryEventStore,
        SqliteEventStore as SqliteEventStore,
        StreamId as StreamId,
    )
    from enfilade.transports.bridge.messages import (
        RelatedMessage as RelatedMessage,
        as_dict as as_dict,
        as_session_message as as_session_message,
        as_text as as_text,
    )
    from enfilade.transports.bridge.transport import HTTPStreamableTransport as HTTPStreamableTransport
    from enfilade.wire.client_requests import (
        CreateMessageResult as CreateMessageResult,
        ModelPreferences as ModelPreferences,
        Root as Root,
        SamplingMessage as SamplingMessage,
    )
    from enfilade.wire.content import (
        Annotations as Annotations,
        AudioContent as AudioContent,
        BlobResourceContents as BlobResourceContents,
        EmbeddedResource as EmbeddedResource,
        Icon as Icon,
        ImageContent as ImageContent,
        ResourceLink as ResourceLink,
        TextContent as TextContent,
        TextResourceContents as TextResourceContents,
    )
    from enfilade.wire.tools import ToolAnnotations as ToolAnnotations


def _lazy_exports(names: dict[str, str]) -> dict[str, str]:
    """Return the module of each name, sorted by name; the argument has the names of each module as one text."""
    return dict(sorted((name, module) for module, text in names.items() for name in text.split()))


def _lazy_value(name: str, exports: dict[str, str], namespace: dict[str, Any]) -> Any:
    """Import a name from its module, and keep it in the namespace of the module that hands it on."""
    if name not in exports:
        raise AttributeError(f"module {namespace['__name__']!r} has no attribute {name!r}")
    import importlib

    from enfilade.startup.lazy import import_without

    import_without("msgspec", "typing_extensions")  # which it needs before Python 3.11 only
    value = namespace[name] = getattr(importlib.import_module(exports[name]), name)
    return value


#: The public names, by the module that has them. Type checkers read the imports above; a test compares the two.
_LAZY_EXPORTS = _lazy_exports(
    {
        "enfilade": "__version__",
        "enfilade.app": "MCPApp",
        "enfilade.client.connect": "connect",
        "enfilade.exceptions": (
            "AnswerError AskTimeoutError AuthError CannotAskError ClientRefusedError EnfiladeError LoadError "
            "MissingCapabilityError MissingSecretError NotAccepted PromptError ResourceError ResourceNotFound "
            "SettingsError StateError StoreError ToolError ToolTimeoutError"
        ),
        "enfilade.primitives.metadata": "Caching",
        "enfilade.primitives.depends": "Depends",
        "enfilade.primitives.options": "PromptOptions ResourceOptions ToolOptions ViewOptions",
        "enfilade.primitives.questions": "Choices",
        "enfilade.primitives.questions.input_required": "InputRequired InputResponses",
        "enfilade.primitives.questions.question": "Elicited elicitation roots sampling text_of url_elicitation",
        "enfilade.primitives.tool_decorator": "tool",
        "enfilade.primitives.values.media": "Audio File Image",
        "enfilade.primitives.prompt": "AssistantMessage Message PromptResult UserMessage",
        "enfilade.primitives.values.results": "ToolResult",
        "enfilade.serving.callers.http_request": "HttpRequest",
        "enfilade.serving.context": "Context",
        "enfilade.serving.channel": "Peer",
        "enfilade.serving.request": "Request",
        "enfilade.settings": "Settings",
        "enfilade.state.event_store": (
            "EventCallback EventId EventMessage EventStore MemoryEventStore SqliteEventStore StreamId"
        ),
        "enfilade.transports.bridge.messages": "RelatedMessage as_dict as_session_message as_text",
        "enfilade.transports.bridge.transport": "HTTPStreamableTransport",
        "enfilade.wire.content": (
            "Annotations AudioContent BlobResourceContents EmbeddedResource Icon ImageContent ResourceLink "
            "TextContent TextResourceContents"
        ),
        "enfilade.wire.client_requests": "CreateMessageResult ModelPreferences Root SamplingMessage",
        "enfilade.wire.tools": "ToolAnnotations",
    }
)

if not TYPE_CHECKING:  # type checkers would take every name for one that there is
    __all__ = list(_LAZY_EXPORTS)

    def __getattr__(name: str) -> Any:
        if name not in _LAZY_EXPORTS:
            from enfilade.primitives.other_frameworks import refuse_name

            refuse_name(__name__, name, is_imported=sys._getframe(1).f_code.co_name == "_handle_fromlist")
        return _lazy_value(name, _LAZY_EXPORTS, globals())


def __dir__() -> list[str]:
    return list(_LAZY_EXPORTS)


class _OtherModules:
    """Says what to write for modules of other frameworks, such as `enfilade.dependencies`; finds none."""

    @staticmethod
    def find_spec(name: str, *_args: object) -> None:
        """Refuse a module that is known from elsewhere.

        Raises:
            ModuleNotFoundError: says what to write.
        """
        package, _, module = name.partition(".")
        if package == "enfilade":
            from enfilade.primitives.foreign_names import MODULES
            from enfilade.primitives.other_frameworks import advice_on_name

            if module in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}{advice_on_name(module)}", name=name)


sys.meta_path.append(_OtherModules)
