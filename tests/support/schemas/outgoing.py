"""Which message types leave the server: all but those that only a client sends.

Listed by exception, so that a new type counts as outgoing until somebody says otherwise.
"""

import importlib
import pkgutil
from collections.abc import Iterator

import enfilade.wire
from enfilade.wire import (
    apps,
    client_requests,
    lifecycle,
    message,
    notifications,
    prompts,
    revision_tables,
    tasks,
)

# Both a client and a server send these.
_BOTH_WAYS = {
    notifications.CancelledNotificationParams,
    message.NotificationParams,
    notifications.ProgressNotificationParams,
    tasks.TaskStatusNotificationParams,
}

_CLIENT_ONLY = (set(revision_tables.PARAMS.values()) - _BOTH_WAYS) | {
    message.InputResponseRequestParams,
    lifecycle.RequestMeta,
    lifecycle.ClientCapabilities,
    lifecycle.RootsCapability,
    lifecycle.SamplingCapability,
    lifecycle.ElicitationCapability,
    prompts.PromptReference,
    prompts.ResourceTemplateReference,
    prompts.CompletionArgument,
    prompts.CompletionContext,
    client_requests.ElicitResult,
    client_requests.CreateMessageResult,
    client_requests.ListRootsResult,
    client_requests.Root,
    tasks.RelatedTaskMetadata,
    *(apps.ToolUi, apps.ViewCsp, apps.ViewPermissions, apps.ViewUi),  # members of `_meta`, in each that has it
    message.JsonResult,  # of extensions: it has any members, which are not those of a type
}


def is_outgoing(kind: type[message.Message]) -> bool:
    """Whether the server sends messages of this type, or messages that contain them."""
    return kind not in _CLIENT_ONLY


def outgoing_types() -> list[type[message.Message]]:
    """Return every message type that leaves the server."""
    for module in pkgutil.iter_modules(enfilade.wire.__path__):
        importlib.import_module(f"enfilade.wire.{module.name}")
    return sorted(set(_ours(message.Message)), key=lambda kind: kind.__qualname__)


def _ours(kind: type[message.Message]) -> Iterator[type[message.Message]]:
    for subclass in kind.__subclasses__():
        if subclass.__module__.startswith("enfilade.wire.") and is_outgoing(subclass):
            yield subclass
        yield from _ours(subclass)
