"""`completion/complete`: suggestions for the arguments of prompts and of resource templates.

Easy to get wrong: an argument that nothing suggests values for is no error; its user types on without help. A
prompt, template or argument that does not exist is one (R-531).
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
else:  # those who complete nothing need nothing of it
    _completion = LazyModule("enfilade.primitives.completion")


class Completions:
    """Serves the completers of prompts and templates.

    Args:
        prompts: the prompts, by name.
        templates: the templates, by themselves.
        runner: runs functions that suggest.
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
        self._offered = False

    def is_offered(self) -> bool:
        """Whether anything can be completed."""
        version = (self._prompts.version, self._templates.version)
        if version != self._version:
            self._offered = any(each.completers for each in (*self._prompts, *self._templates))
            self._version = version
        return self._offered

    async def complete(self, request: Request) -> CompleteResult:
        """Handle `completion/complete`."""
        params: CompleteRequestParams = request.params
        completer = self._completer(params.ref, params.argument.name)
        if completer is None:
            return CompleteResult(completion=Completion(values=[], total=0, has_more=False))
        if isinstance(completer, _completion.Choices):
            return CompleteResult(completion=completer.suggest(params.argument.value))
        settled = params.context.arguments if params.context else {}
        with failures_as_errors(request, f"completion of {params.argument.name!r}"):
            bind = partial(completer.bind, params.argument.value)
            found = await self._runner.run(
                request, completer.handler, bind, settled or {}, _completion.completion_of
            )
        return CompleteResult(completion=found)

    def _completer(
        self, ref: PromptReference | ResourceTemplateReference, argument: str
    ) -> "_completion.Completer | None":
        """Return what suggests values for an argument, if anything does.

        Raises:
            RpcError: INVALID_PARAMS if there is no such prompt, template or argument.
        """
        item: Prompt | ResourceTemplate | None
        if isinstance(ref, PromptReference):
            item, what = self._prompts.get(ref.name), f"prompt: {ref.name}"
        else:
            item, what = self._templates.get(ref.uri), f"resource template: {ref.uri}"
        if item is None:
            raise RpcError(INVALID_PARAMS, f"Unknown {what}")
        if argument not in item.arguments:
            raise RpcError(INVALID_PARAMS, f"Unknown argument {argument!r} of {what}")
        return item.completers.get(argument)
