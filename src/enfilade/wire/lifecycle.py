"""Names, versions and capabilities: the handshake, `server/discover`, and the metadata of each request.

In the session-based revisions a client sends these once, in `initialize`; in the stateless revision in the
`_meta` of every request (`RequestMeta`). Both use the same two types, `Implementation` and `ClientCapabilities`.

Easy to get wrong: a capability that is present but empty (`"elicitation": {}`) is declared; only an absent
one is not.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.content import Icon
from enfilade.wire.message import CacheableResult, Message, ProgressToken, RequestParams, Result
from enfilade.wire.notifications import LoggingLevel

PREFIX = "io.modelcontextprotocol/"
PROTOCOL_VERSION = PREFIX + "protocolVersion"
CLIENT_INFO = PREFIX + "clientInfo"
CLIENT_CAPABILITIES = PREFIX + "clientCapabilities"
LOG_LEVEL = PREFIX + "logLevel"
SERVER_INFO = PREFIX + "serverInfo"
SUBSCRIPTION_ID = PREFIX + "subscriptionId"
RELATED_TASK = PREFIX + "related-task"


class Implementation(Message, kw_only=True):
    """The name and version of a client or server. Nothing is decided by them (R-105)."""

    name: str
    version: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    website_url: str | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET


class RootsCapability(Message, kw_only=True):
    """`list_changed`: the client announces changes (session era only)."""

    list_changed: bool | UnsetType = UNSET


class SamplingCapability(Message, kw_only=True):
    """`context`: `includeContext` is honoured; `tools`: tool use within sampling."""

    context: dict[str, Any] | UnsetType = UNSET
    tools: dict[str, Any] | UnsetType = UNSET


class ElicitationCapability(Message, kw_only=True):
    """Which modes the client can show. An empty object means forms (R-289)."""

    form: dict[str, Any] | UnsetType = UNSET
    url: dict[str, Any] | UnsetType = UNSET


class ClientCapabilities(Message, kw_only=True):
    """What the client can do for the server."""

    roots: RootsCapability | UnsetType = UNSET
    sampling: SamplingCapability | UnsetType = UNSET
    elicitation: ElicitationCapability | UnsetType = UNSET
    tasks: dict[str, Any] | UnsetType = UNSET
    experimental: dict[str, Any] | UnsetType = UNSET
    extensions: dict[str, Any] | UnsetType = UNSET


class ToolsCapability(Message, kw_only=True):
    """`list_changed`: changes of the list are announced."""

    list_changed: bool | UnsetType = UNSET


class PromptsCapability(Message, kw_only=True):
    """`list_changed`: changes of the list are announced."""

    list_changed: bool | UnsetType = UNSET


class ResourcesCapability(Message, kw_only=True):
    """`subscribe`: single resources can be watched; `list_changed`: changes of the list are announced."""

    subscribe: bool | UnsetType = UNSET
    list_changed: bool | UnsetType = UNSET


class ServerCapabilities(Message, kw_only=True):
    """What the server offers. `logging` and `completions` are empty objects when offered."""

    tools: ToolsCapability | UnsetType = UNSET
    resources: ResourcesCapability | UnsetType = UNSET
    prompts: PromptsCapability | UnsetType = UNSET
    logging: dict[str, Any] | UnsetType = UNSET
    completions: dict[str, Any] | UnsetType = UNSET
    tasks: dict[str, Any] | UnsetType = UNSET
    experimental: dict[str, Any] | UnsetType = UNSET
    extensions: dict[str, Any] | UnsetType = UNSET


class InitializeRequestParams(RequestParams, kw_only=True):
    """The client's half of the handshake."""

    protocol_version: str
    capabilities: ClientCapabilities
    client_info: Implementation


class InitializeResult(Result, kw_only=True):
    """The server's half of the handshake."""

    protocol_version: str
    capabilities: ServerCapabilities
    server_info: Implementation
    instructions: str | UnsetType = UNSET


class DiscoverResult(CacheableResult, kw_only=True):
    """The result of `server/discover`: that of `initialize` without a session, its server in `_meta` (R-285)."""

    supported_versions: list[str]
    capabilities: ServerCapabilities
    instructions: str | UnsetType = UNSET


class RequestMeta(Message, kw_only=True):
    """The `_meta` of a request, decoded.

    Only types are checked here. The caller enforces that the stateless revision requires `protocol_version` and
    `client_capabilities` (R-104), since the session-based ones have neither. Trace context has no type, because a
    malformed one must not fail the request (R-2B7).
    """

    progress_token: ProgressToken | UnsetType = UNSET
    protocol_version: str | UnsetType = msgspec.field(name=PROTOCOL_VERSION, default=UNSET)
    client_info: Implementation | UnsetType = msgspec.field(name=CLIENT_INFO, default=UNSET)
    client_capabilities: ClientCapabilities | UnsetType = msgspec.field(name=CLIENT_CAPABILITIES, default=UNSET)
    log_level: LoggingLevel | UnsetType = msgspec.field(name=LOG_LEVEL, default=UNSET)
    traceparent: Any = UNSET
    tracestate: Any = UNSET
    baggage: Any = UNSET
