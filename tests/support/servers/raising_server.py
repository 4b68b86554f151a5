"""A server whose handlers end in every way in which Python code can end, each by name, in every place.

It runs inside the tests (`raising_app()`) and as a process of its own (`python raising_server.py stdio`). What is
raised is a name out of `WAYS`; where, is the tool, prompt, resource or completion that is asked for it.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Annotated, Any, NoReturn

from enfilade import Context, Depends, MCPApp, ToolError

WAY, WHERE = "test/way", "test/where"
"""Members of `_meta`: the way in which a dependency or middleware ends, and which middleware it is."""


class PanicException(BaseException):
    """As PyO3 has it: what a Rust extension raises that panicked."""


class Failed(BaseException):
    """As pytest has it: what `pytest.fail()` raises."""


class BrokenHandler(logging.Handler):
    """A handler of a log that is no more."""

    def emit(self, record: logging.LogRecord) -> None:
        raise PanicException("the log is gone")


def _raise(error: BaseException) -> NoReturn:
    raise error


RAISED: dict[str, Any] = {
    "base": lambda: BaseException("the password is swordfish"),
    "panic": lambda: PanicException("called `Option::unwrap()` on swordfish"),
    "failed": lambda: Failed("swordfish"),
    "interrupt": lambda: KeyboardInterrupt("swordfish"),
    "exit": lambda: SystemExit(3),
    "generator-exit": lambda: GeneratorExit("swordfish"),
    "cancelled": lambda: asyncio.CancelledError("swordfish"),
    "group-of-interrupts": lambda: BaseExceptionGroup("swordfish", [KeyboardInterrupt(), ValueError()]),
    "stop-async-iteration": lambda: StopAsyncIteration("swordfish"),
}
"""What is raised as it is."""

DONE = ("cancels-itself", "cancelled-by-its-child", "waits-for-the-cancelled")
"""What takes an event loop to be done."""

WAYS = (*RAISED, *DONE)


async def end(way: str) -> NoReturn:
    """End in one of the `WAYS`."""
    task = asyncio.current_task()
    assert task is not None
    if way == "cancels-itself":
        task.cancel()
        await asyncio.sleep(60)
    elif way == "cancelled-by-its-child":
        child = asyncio.create_task(_cancel(task))
        await asyncio.sleep(60)
        await child
    elif way == "waits-for-the-cancelled":
        work = asyncio.create_task(asyncio.sleep(60))
        work.cancel()
        await work
    raise RAISED[way]()


async def _cancel(task: "asyncio.Task[Any]") -> None:
    task.cancel()


async def _enters(ctx: Context) -> str:
    await end(ctx.meta[WAY])


async def _leaves(ctx: Context) -> AsyncIterator[str]:
    yield "entered"
    await end(ctx.meta[WAY])


def _enters_plainly(ctx: Context) -> Iterator[str]:
    _raise(RAISED[ctx.meta[WAY]]())
    yield "never"


def _leaves_plainly(ctx: Context) -> Iterator[str]:
    yield "entered"
    _raise(RAISED[ctx.meta[WAY]]())


async def _passes(ctx: Context) -> AsyncIterator[str]:
    try:
        yield "a dependency that cleans up"
    finally:
        await asyncio.sleep(0)


async def _in_middleware(request: Any, call_next: Any) -> Any:
    meta = request.raw_meta
    if meta.get(WHERE) == "middleware":
        await end(meta[WAY])
    result = await call_next(request)
    if meta.get(WHERE) == "middleware, on the way back":
        await end(meta[WAY])
    return result


async def _secret_for(name: str, peer: Any) -> str:
    await end(name)


def raising_app(**options: Any) -> MCPApp:
    """Return the server."""
    app = MCPApp("raising", middleware=[_in_middleware], secrets=_secret_for, **options)
    _add_tools(app)
    _add_roundabout_tools(app)
    _add_stubborn_tools(app)

    @app.tool
    async def echo(text: str) -> str:
        """Return the text."""
        return text

    @app.prompt
    async def ends(way: str) -> str:
        """End."""
        await end(way)

    @app.completion("ends", "way")
    async def suggest(value: str) -> list[str]:
        await end(value)

    @app.resource("odd://{way}")
    async def odd(way: str) -> str:
        """End."""
        await end(way)

    return app


def _add_tools(app: MCPApp) -> None:
    @app.tool
    async def at_once(way: str) -> str:
        """End before anything was waited for."""
        await end(way)

    @app.tool
    async def later(way: str) -> str:
        """End after the loop had its turn."""
        await asyncio.sleep(0.02)
        await end(way)

    @app.tool
    async def reporting(way: str, ctx: Context) -> str:
        """End when a notification is on its way, so that the answer is a stream."""
        await ctx.log.error("before the end")
        await asyncio.sleep(0.02)
        await end(way)

    @app.tool
    def plain(way: str) -> str:
        """End in a thread."""
        _raise(RAISED[way]())

    @app.tool
    async def entering(way: Annotated[str, Depends(_enters)]) -> str:
        """Depend on what ends."""
        return way

    @app.tool
    async def leaving(way: Annotated[str, Depends(_leaves)]) -> str:
        """Depend on what ends when it is put away."""
        return way

    @app.tool
    async def entering_plainly(way: Annotated[str, Depends(_enters_plainly)]) -> str:
        """Depend on what ends in a thread."""
        return way

    @app.tool
    async def leaving_plainly(way: Annotated[str, Depends(_leaves_plainly)]) -> str:
        """Depend on what ends in a thread when it is put away."""
        return way

    @app.tool
    async def depending(way: str, _: Annotated[str, Depends(_passes)]) -> str:
        """End with a dependency to put away."""
        await end(way)


def _add_roundabout_tools(app: MCPApp) -> None:
    @app.tool
    async def once(way: str, ctx: Context) -> str:
        """End in a side effect."""

        async def effect() -> None:
            await end(way)

        await ctx.once("effect", effect)
        return "never"

    @app.tool
    async def prompting(way: str, ctx: Context) -> str:
        """End in a prompt that is called."""
        await ctx.prompts.get("ends", {"way": way})
        return "never"

    @app.tool
    async def reading(way: str, ctx: Context) -> str:
        """End in a resource that is read."""
        await ctx.resources.read(f"odd://{way}")
        return "never"

    @app.tool
    async def together(way: str) -> str:
        """End beside something else that runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            await end(way)

    for each in RAISED:

        @app.tool(name=f"secret_{each.replace('-', '_')}", requires_secrets=[each])
        async def secretive() -> str:
            """Need a secret whose lookup ends."""
            return "never"


def _add_stubborn_tools(app: MCPApp) -> None:
    let_go = asyncio.Event()

    async def insist() -> str:
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(let_go.wait(), 60)
        return "it did not let itself be stopped"

    @app.tool
    async def stubborn() -> str:
        """Go on in spite of any cancellation, until `let_go` is called."""
        return await insist()

    @app.tool(timeout=0.1)
    async def stubborn_within_a_limit() -> str:
        """Do the same under a time limit of the tool's own."""
        return await insist()

    @app.tool
    async def stubborn_reporting(ctx: Context) -> str:
        """Do the same when the answer is a stream."""
        await ctx.log.error("begun")
        return await insist()

    @app.tool
    async def stubborn_asking(ctx: Context) -> str:
        """Ask, and go on in spite of the end of the round."""
        with suppress(asyncio.CancelledError):
            return str((await ctx.elicit("Sure?", bool)).data)
        return await insist()

    @app.tool
    async def swallow() -> str:
        """Return a result after a cancellation."""
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "swallowed"

    @app.tool(name="let_go")
    async def release() -> str:
        """Let the stubborn ones end."""
        let_go.set()
        return "done"

    @app.tool
    def break_the_log(how: str) -> str:
        """Let nothing be logged any more."""
        if how == "closed":
            sys.stderr.close()
        elif how == "none":
            sys.stderr = None
        elif how == "descriptor":
            os.close(2)
        else:
            for each in (None, "enfilade", "enfilade.serving"):
                logging.getLogger(each).addHandler(BrokenHandler())
        return how

    @app.tool
    async def groups(kind: str) -> str:
        """Fail in tasks side by side."""
        errors: dict[str, list[Exception]] = {
            "one": [ToolError("City not found: try 'Bern'", meta={"seen": True})],
            "two": [ToolError("first"), ToolError("second")],
            "mixed": [ToolError("first"), ValueError("swordfish")],
        }
        nested = ExceptionGroup("nested", errors[kind])
        raise ExceptionGroup("outer", [nested])


app = raising_app()

if __name__ == "__main__":
    app.run(sys.argv[1], port=int(sys.argv[2]) if len(sys.argv) > 2 else None)
