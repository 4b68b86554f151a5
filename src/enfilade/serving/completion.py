"""`completion/complete`: suggestions for the arguments of prompts and of resource templates.

Easy to get wrong: an argument without a completer is no error, and gets an empty list. A prompt, template or
argument that does not exist is an error (R-531).
"""

from functools import partial
from typing import TYPE_CHECKING

from enfilade.primitives.registry import Registry
from enfilade.serving.execution import HandlerRunner
from enfilade.serving.failures import failures_as_errors
from enfilade.serving.request import Request
from enfilade.startup.lazy import LazyModule
from enfilade.wire.completion import (
    CompleteRequestParams,
    CompleteResult,
    Completion,
    PromptReference,
    ResourceTemplateReference,
)
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError

if TYPE_CHECKING:
    from enfilade.primitives import completion as _completion
    from enfilade.primitives.prompt import Prompt
    from enfilade.primitives.resource import ResourceTemplate
else:  # loaded with the first completion
    _completion = LazyModule("enfilade.primitives.completion")


class Completions:
    """Serves the completers of prompts and templates.

    Args:
        prompts: the prompts, by name.
        templates: the templates, by themselves.
        runner: runs completers that are functions.
    """

    def __init__(
        self,
        prompts: "Registry[Prompt]",
        templates: "Registry[ResourceTemplate]",
        runner: HandlerRunner,
    ) -> None:
        self._prompts = prompts
        self._templates = templates
        self._runner = runner
        self._version: tuple[int, int] = (-1, -1)
        self._has_any = False

    def is_offered(self) -> bool:
        """Whether anything can be completed."""
        version = (self._prompts.version, self._templates.version)
        if version != self._version:
            self._has_any = any(item.completers for item in (*self._prompts, *self._templates))
            self._version = version
        return self._has_any

    async def complete(self, request: Request) -> CompleteResult:
        """Handle `completion/complete`."""
        params: CompleteRequestParams = request.params
        completer = self._completer(params.ref, params.argument.name)
        if completer is None:
            return CompleteResult(completion=Completion(values=[], total=0, has_more=False))
        if isinstance(completer, _completion.Choices):
            return CompleteResult(completion=completer.suggest(params.argument.value))
        known_arguments = params.context.arguments if params.context else {}
        with failures_as_errors(request, f"completion of {params.argument.name!r}"):
            bind = partial(completer.bind, params.argument.value)
            completion = await self._runner.run(
                request, completer.handler, bind, known_arguments or {}, _completion.completion_of
            )
        return CompleteResult(completion=completion)

    def _completer(
        self, ref: PromptReference | ResourceTemplateReference, argument: str
    ) -> "_completion.Completer | None":
        """Return the completer of an argument, if it has one.

        Raises:
            RpcError: INVALID_PARAMS if there is no such prompt, template or argument.
        """
        item: Prompt | ResourceTemplate | None
        if isinstance(ref, PromptReference):
            item, label = self._prompts.get(ref.name), f"prompt: {ref.name}"
        else:
            item, label = self._templates.get(ref.uri), f"resource template: {ref.uri}"
        if item is None:
            raise RpcError(INVALID_PARAMS, f"Unknown {label}")
        if argument not in item.arguments:
            raise RpcError(INVALID_PARAMS, f"Unknown argument {argument!r} of {label}")
        return item.completers.get(argument)
