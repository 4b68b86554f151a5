"""`initialize`, `server/discover` and `ping`.

The handshake and the discovery advertise the same capabilities, and only those that have a handler.
"""

from collections.abc import Callable

import msgspec
from msgspec import UNSET

from enfilade.serving.request import Request
from enfilade.wire.lifecycle import (
    DiscoverResult,
    Implementation,
    InitializeResult,
    PromptsCapability,
    ResourcesCapability,
    ServerCapabilities,
    ToolsCapability,
)
from enfilade.wire.message import EmptyResult
from enfilade.wire.revisions import STATELESS


class Handshake:
    """Handles `initialize`, `server/discover` and `ping`.

    Args:
        server_info: the name and version of the server.
        capabilities: returns what it offers at present.
        instructions: how to use it, for the client's model.
    """

    def __init__(
        self,
        server_info: Implementation,
        capabilities: Callable[[], ServerCapabilities],
        instructions: str | None,
    ) -> None:
        self._server_info = server_info
        self._capabilities = capabilities
        self._instructions = UNSET if instructions is None else instructions

    async def initialize(self, request: Request) -> InitializeResult:
        """Handle `initialize`, with the revision that the transport negotiated (R-109, R-301)."""
        capabilities = self._capabilities()
        return InitializeResult(
            protocol_version=request.peer.revision,
            capabilities=capabilities if request.channel.session is not None else _without_changes(capabilities),
            server_info=self._server_info,
            instructions=self._instructions,
        )

    async def discover(self, request: Request) -> DiscoverResult:
        """Handle `server/discover`, on any transport (R-107, R-283), with the stateless revisions (R-118)."""
        return DiscoverResult(
            supported_versions=list(STATELESS),
            capabilities=self._capabilities(),
            instructions=self._instructions,
        )

    async def ping(self, request: Request) -> EmptyResult:
        """Handle `ping` (R-366)."""
        return EmptyResult()


def _without_changes(capabilities: ServerCapabilities) -> ServerCapabilities:
    """Return the capabilities for a client without a session: it has no stream for changes."""
    tools, prompts, resources = capabilities.tools, capabilities.prompts, capabilities.resources
    return msgspec.structs.replace(
        capabilities,
        tools=tools if tools is UNSET else ToolsCapability(),
        prompts=prompts if prompts is UNSET else PromptsCapability(),
        resources=resources if resources is UNSET else ResourcesCapability(),
    )
