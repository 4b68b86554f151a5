"""Side effects that happen once per call, however many rounds of questions the call has.

Easy to get wrong: two branches of a handler that come to the same side effect at the same time. The second waits
for the first, and runs it only if the first has failed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import msgspec

from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.request import Request

#: The keys of the side effects that the present code is part of.
within: ContextVar[tuple[str, ...]] = ContextVar("enfilade_within_once", default=())


async def once(request: Request, key: str, fn: Callable[[], Any]) -> Any:
    """Run a side effect unless its result is known; return the result, as JSON has it.

    Args:
        request: the handler's request.
        key: names the side effect within the handler.
        fn: sync or async, without arguments.

    Raises:
        RuntimeError: the side effect runs itself.
    """
    memo = request.channel.asker.memo_of(request)
    if key not in memo.once:
        if key in within.get():
            raise RuntimeError(f"the side effect {key!r} runs itself: ctx.once was called with its own key in it")
        async with request.ask_state().locks.setdefault(key, asyncio.Lock()):
            if key not in memo.once:
                memo.once[key] = await _performed(request, key, fn)
    return msgspec.json.decode(memo.once[key])


async def _performed(request: Request, key: str, fn: Callable[[], Any]) -> bytes:
    """Run it, and keep the round from ending meanwhile."""
    token = within.set((*within.get(), key))
    request.channel.asker.begin_side_effect(request)
    try:
        value = fn()
        if isinstance(value, Awaitable):
            value = await value
        return json_bytes(value)
    finally:
        within.reset(token)
        request.channel.asker.end_side_effect(request)
