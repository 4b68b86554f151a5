"""`prompts/list` and `prompts/get`, and `completion/complete` for arguments of prompts and resource templates.

Easy to get wrong: a prompt has no result for its failures, unlike a tool. An unknown prompt and wrong arguments
are errors of the request (R-530); any other failure is an error of the server. For completion, an argument
without a completer is no error, and gets an empty list; a prompt, template or argument that does not exist is one
(R-531).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec import UNSET

from enfilade.primitives.registry import Registry
from enfilade.serving.callers.access import AccessPolicy, Caller, caller_of
from enfilade.serving.execution import HandlerRunner
from enfilade.serving.failures import check_uri_length, failures_as_errors
from enfilade.serving.pagination import PageOptions, PaginatedList
from enfilade.serving.request import Request
from enfilade.startup.lazy import LazyModule
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.prompts import (
    CompleteRequestParams,
    CompleteResult,
    Completion,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    Prompt as Definition,
    PromptReference,
    ResourceTemplateReference,
)

if TYPE_CHECKING:
    from enfilade.primitives import completion as _completion
    from enfilade.primitives.prompt import Prompt
    from enfilade.primitives.resource import ResourceTemplate
else:  # loaded with the first completion
    _completion = LazyModule("enfilade.primitives.completion")


class Prompts:
    """Serves the prompts of a registry, in its order."""

    def __init__(self, registry: "Registry[Prompt]", runner: HandlerRunner, lists: PageOptions) -> None:
        self._registry = registry
        self._runner = runner
        self._access = lists.access
        self.pages = PaginatedList(
            "prompts/list",
            ListPromptsResult,
            "prompts",
            registry.items,
            lambda prompts: [prompt.definition for prompt in prompts],
            lambda: registry.version,
            lists,
        )

    def definitions(self, request: Request) -> Sequence[Definition]:
        """Return the definitions of all prompts that the caller of a request sees, in listed order."""
        return [prompt.definition for prompt in self._access.shown(self._registry.items(), caller_of(request))]

    def is_offered(self) -> bool:
        """Whether there are prompts."""
        return len(self._registry) > 0

    def is_offered_to(self, caller: Caller) -> bool:
        """Whether any of them is there for a caller."""
        return self._access.offers(self._registry, caller)

    async def get(self, request: Request) -> GetPromptResult:
        """Handle `prompts/get`."""
        params: GetPromptRequestParams = request.params
        prompt = self._registry.get(params.name)
        if prompt is None or (prompt.access is not None and not self._access.admits(request, prompt.access)):
            raise RpcError(INVALID_PARAMS, f"Unknown prompt: {params.name}")
        arguments = {} if params.arguments is UNSET else params.arguments
        with failures_as_errors(request, f"prompt {prompt.name!r}"):
            return await self._runner.run(request, prompt.handler, prompt.bind, arguments, prompt.result)

    def check_access(self, request: Request) -> None:
        """Check that a client may get the prompt that it names, if the prompt is there for it.

        Raises:
            RpcError: it lacks scopes.
        """
        prompt = self._registry.get(request.params.name)
        if prompt is not None and prompt.access is not None:
            self._access.admits(request, prompt.access)


class Completions:
    """Serves the completers of prompts and templates."""

    def __init__(
        self,
        prompts: "Registry[Prompt]",
        templates: "Registry[ResourceTemplate]",
        runner: HandlerRunner,
        access: AccessPolicy,
    ) -> None:
        self._prompts = prompts
        self._templates = templates
        self._runner = runner
        self._access = access
        self._version: tuple[int, int] = (-1, -1)
        self._has_any = False

    def is_offered(self) -> bool:
        """Whether anything can be completed."""
        version = (self._prompts.version, self._templates.version)
        if version != self._version:
            self._has_any = any(item.completers for item in self._items())
            self._version = version
        return self._has_any

    def is_offered_to(self, caller: Caller) -> bool:
        """Whether there is anything that a caller can complete."""
        if not self.is_offered():
            return False
        return self._access.offers((item for item in self._items() if item.completers), caller)

    def _items(self) -> "Iterator[Prompt | ResourceTemplate]":
        yield from self._prompts
        yield from self._templates

    async def complete(self, request: Request) -> CompleteResult:
        """Handle `completion/complete`."""
        params: CompleteRequestParams = request.params
        completer = self._completer(request, params.ref, params.argument.name)
        if completer is None:
            return CompleteResult(completion=Completion(values=[], total=0, has_more=False))
        if isinstance(completer, _completion.FixedValues):
            return CompleteResult(completion=completer.suggest(params.argument.value))
        known_arguments = params.context.arguments if params.context else {}
        with failures_as_errors(request, f"completion of {params.argument.name!r}"):
            bind = partial(completer.bind, params.argument.value)
            completion = await self._runner.run(
                request, completer.handler, bind, known_arguments or {}, _completion.completion_of
            )
        return CompleteResult(completion=completion)

    def check_access(self, request: Request) -> None:
        """Check that a client may use the prompt or template that it names, if that is there for it.

        Raises:
            RpcError: it lacks scopes.
        """
        item, _ = self._item(request.params.ref)
        if item is not None and item.access is not None:
            self._access.admits(request, item.access)

    def _item(
        self, ref: PromptReference | ResourceTemplateReference
    ) -> "tuple[Prompt | ResourceTemplate | None, str]":
        """Return what a reference names, and a label of it for errors.

        Raises:
            RpcError: its URI is too long.
        """
        if isinstance(ref, PromptReference):
            return self._prompts.get(ref.name), f"prompt: {ref.name}"
        check_uri_length(ref.uri)
        return self._templates.get(ref.uri), f"resource template: {ref.uri}"

    def _completer(
        self, request: Request, ref: PromptReference | ResourceTemplateReference, argument: str
    ) -> "_completion.Completer | None":
        """Return the completer of an argument, if it has one.

        Raises:
            RpcError: INVALID_PARAMS if there is no such prompt, template or argument; the caller lacks scopes.
        """
        item, label = self._item(ref)
        if item is None or (item.access is not None and not self._access.admits(request, item.access)):
            raise RpcError(INVALID_PARAMS, f"Unknown {label}")
        if argument not in item.arguments:
            raise RpcError(INVALID_PARAMS, f"Unknown argument {argument!r} of {label}")
        return item.completers.get(argument)
