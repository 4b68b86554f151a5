"""Plain functions that ask: refused when they are registered, because a plain function cannot await an answer.

Only what is certain is refused: `ctx.elicit(…)` written in the function itself, of its own parameter. Whatever
else comes to such a call fails there. Easy to get wrong: to hand `ctx.elicit` on without calling it is fine, as
something with an event loop may call it.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType
from typing import Any, Final

#: What a context offers that must be awaited.
AWAITED: Final = frozenset(
    {
        *("elicit", "elicit_url", "sample", "roots", "once"),
        *("tools.call", "tools.call_raw", "resources.read", "resources.list_roots", "prompts.get"),
        *("ui.elicit", "sampling.create_message"),
    }
)


def refuse_unawaited(fn: Callable[..., Any], contexts: Iterable[str], label: str) -> None:
    """Refuse a plain function that calls what must be awaited.

    Args:
        fn: a function that gives no coroutine; of other callables nothing is known.
        contexts: its parameters that take the context.
        label: what it is called in errors.

    Raises:
        TypeError: names the call.
    """
    if isinstance(fn, FunctionType) and not inspect.isasyncgenfunction(fn):
        for call in _calls(fn.__code__, frozenset(contexts)):
            raise TypeError(
                f"{label} is a plain function, and {call} must be awaited: "
                f"make it `async def`, and write `await {call}(…)`"
            )


def _calls(code: CodeType, contexts: frozenset[str]) -> Iterable[str]:
    """Yield the calls of methods of a context that must be awaited, as they are written."""
    owner, path = "", ""
    for step in dis.get_instructions(code):
        if step.opname.startswith("LOAD_FAST") or step.opname == "LOAD_DEREF":
            owner, path = step.argrepr.rpartition(", ")[2], ""  # some instructions load two
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and owner in contexts:
            path = f"{path}.{step.argval}".removeprefix(".")
            if path in AWAITED and _is_method(step):
                yield f"{owner}.{path}"
        else:
            owner = ""


def _is_method(step: dis.Instruction) -> bool:
    """Whether what is loaded is called, and not handed on."""
    if sys.version_info < (3, 12):
        return step.opname == "LOAD_METHOD"
    return bool((step.arg or 0) & 1)
