"""A handler: a registered function, and how values and the context are passed to its parameters.

Tools, resources, templates, prompts and completions all have one.

Easy to get wrong: `call` does not await. If `is_async` is true it returns an awaitable, and a plain function may
return one as well; the caller awaits the result if it can be awaited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from enfilade.primitives.depends import Provider
from enfilade.primitives.schema.signature import Signature, is_async, origin_of


class Handler(Struct, frozen=True, eq=False):
    """A function, ready to be called.

    Attributes:
        fn: the function.
        is_async: it returns a coroutine, to be awaited in place; other functions belong in a worker thread.
        origin: where it was written, `module:qualname (file.py:12)`, for reports of clashes.
        contexts: the parameters that take the context.
        dependencies: the parameters that come from providers, by name.
        positional: the parameters that can only be passed by position, in order.
    """

    fn: Callable[..., Any]
    is_async: bool
    origin: str
    contexts: tuple[str, ...]
    dependencies: tuple[tuple[str, Provider], ...]
    positional: tuple[str, ...]

    @property
    def needs_context(self) -> bool:
        """Whether a parameter takes the context, or a function that it depends on may take it."""
        return bool(self.contexts or self.dependencies)

    def with_context(self, values: dict[str, Any], context: Any) -> dict[str, Any]:
        """Return the values by parameter name, with the context for the parameters that take it."""
        for name in self.contexts:
            values[name] = context
        return values

    def call(self, bound: dict[str, Any]) -> Any:
        """Call the function; returns what it returns, which is an awaitable if it is asynchronous."""
        if not self.positional:
            return self.fn(**bound)
        named = dict(bound)
        return self.fn(*[named.pop(name) for name in self.positional], **named)


def handler_of(fn: Callable[..., Any], signature: Signature) -> Handler:
    """Return the handler for a function whose signature was read."""
    return Handler(
        fn, is_async(fn), origin_of(fn), signature.contexts, signature.dependencies, signature.positional
    )


def constant_handler(value: Any, origin: str) -> Handler:
    """Return a handler that always returns this value."""

    async def give() -> Any:
        return value

    return Handler(give, True, origin, (), (), ())
