"""Runs functions of authors that answer methods of extensions.

The members of the params are the function's arguments, read as those of a tool are: a wrong one is
INVALID_PARAMS, with a text that says which, what was expected and what came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.handler import handler_of
from enfilade.primitives.schema.signature import describe, read_signature
from enfilade.primitives.values.arguments import ArgumentReader
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.context import Context
from enfilade.serving.failures import failures_as_errors
from enfilade.wire.message import JsonResult, Message

if TYPE_CHECKING:
    from enfilade.serving.execution import HandlerRunner
    from enfilade.serving.request import Request


class FunctionMethod:
    """A function that answers a method.

    Args:
        method: the method.
        function: sync or async; its parameters are the members of the params.

    Attributes:
        parameters: their names.

    Raises:
        TypeError: a parameter cannot be read from JSON; names it.
    """

    def __init__(self, method: str, function: Callable[..., Any]) -> None:
        self._method = method
        self._label = describe(function)
        signature = read_signature(function, Context, kind="method")
        self._reader = ArgumentReader(
            method, signature.parameters, descriptions={}, label=self._label, kind="method"
        )
        self._handler = handler_of(function, signature)
        self.parameters = frozenset(parameter.name for parameter in signature.parameters)

    async def answer(self, runner: HandlerRunner, request: Request) -> Message:
        """Run the function for a request, and return the result.

        Raises:
            RpcError: INVALID_PARAMS for wrong arguments, INTERNAL_ERROR if the function fails.
        """
        with failures_as_errors(request, f"method {self._method!r}"):
            arguments = bytes(request.params.members)
            return await runner.run(request, self._handler, self._bind, arguments, self._result)

    def _bind(self, arguments: bytes, context: Any) -> dict[str, Any]:
        return self._handler.with_context(self._reader.read(arguments), context)

    def _result(self, value: Any) -> Message:
        if isinstance(value, Message):
            return value
        members = msgspec.json.decode(json_bytes(value))
        if not isinstance(members, dict):
            raise ReturnedValueError(
                f"{self._label} answers {self._method}, whose result is an object: return a dict or a model, "
                f"not {type(value).__name__}"
            )
        return JsonResult.of(members)
