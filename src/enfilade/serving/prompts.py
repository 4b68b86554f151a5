"""`prompts/list` and `prompts/get`.

Easy to get wrong: a prompt has no result for its failures, unlike a tool. An unknown prompt and wrong arguments
are errors of the request (R-530); any other failure is an error of the server.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import UNSET

from enfilade.primitives.metadata import NO_CACHING, Caching
from enfilade.primitives.registry import Registry
from enfilade.serving.execution import HandlerRunner
from enfilade.serving.failures import failures_as_errors
from enfilade.serving.pagination import PaginatedList, Render
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.prompts import GetPromptRequestParams, GetPromptResult, ListPromptsResult, Prompt as Definition

if TYPE_CHECKING:
    from enfilade.primitives.prompt import Prompt


class Prompts:
    """Serves the prompts of a registry.

    Args:
        registry: the prompts, in listed order.
        runner: runs their functions.
        render: encodes a page.
        page_size: entries per page.
        caching: hints by list method.
    """

    def __init__(
        self,
        registry: "Registry[Prompt]",
        runner: HandlerRunner,
        render: Render,
        *,
        page_size: int,
        caching: Mapping[str, Caching],
    ) -> None:
        self._registry = registry
        self._runner = runner
        self.pages = PaginatedList(
            ListPromptsResult,
            "prompts",
            self.definitions,
            lambda: registry.version,
            render,
            size=page_size,
            caching=caching.get("prompts/list", NO_CACHING),
        )

    def definitions(self) -> Sequence[Definition]:
        """Return the definitions of all prompts, in listed order."""
        return [prompt.definition for prompt in self._registry]

    def is_offered(self) -> bool:
        """Whether there are prompts."""
        return len(self._registry) > 0

    async def get(self, request: Request) -> GetPromptResult:
        """Handle `prompts/get`."""
        params: GetPromptRequestParams = request.params
        prompt = self._registry.get(params.name)
        if prompt is None:
            raise RpcError(INVALID_PARAMS, f"Unknown prompt: {params.name}")
        arguments = {} if params.arguments is UNSET else params.arguments
        with failures_as_errors(request, f"prompt {prompt.name!r}"):
            return await self._runner.run(request, prompt.handler, prompt.bind, arguments, prompt.result)
