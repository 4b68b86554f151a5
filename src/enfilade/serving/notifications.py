"""What a handler sends to its client while it runs: progress and log messages. And what its calls give back.

`ctx.log` and `ctx.progress` send at once and return an `AwaitableSend`. A plain `def` tool ignores it; an
`async def` tool may await it, which adds back-pressure: the await returns when the reader has caught up.

`ctx.elicit` and its kin do nothing until they are awaited. Easy to get wrong: a call that was not awaited is an
object, and an object is true. So it has no truth value, and in a plain `def` function, which cannot await
anything, the call itself fails (`to_await`).
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from functools import cache, wraps
from math import inf
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, TypeVar, cast

import msgspec
from msgspec import UNSET

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.foreign_names import LOG_ATTRIBUTES, PAGE
from enfilade.primitives.other_frameworks import advice_on_attributes
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.channel import Outlet, ProgressSink
from enfilade.serving.request import Request
from enfilade.wire.message import EmptyResult, ProgressToken
from enfilade.wire.notifications import SEVERITY, LoggingLevel, ProgressNotificationParams, ProgressNotifications
from enfilade.wire.projection import project

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

#: Reports of progress that leave at once, and how many a second from then on (R-2B1).
BURST: Final = 1000
RATE: Final = 20.0

_encode: Final = msgspec.json.Encoder().encode

#: How the notifications of each level begin: the JSON of `LoggingMessageNotificationParams`, ready-made.
_HEADS: Final = {
    level: b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"%b",' % level.encode()
    for level in SEVERITY
}

#: Awaiting this does not suspend, so the event loop takes no part in it.
_AT_ONCE: Final = cast("Generator[Any, Any, None]", iter(()))


# -- calls that may or must be awaited -------------------------------------------------------------------------


class AwaitableSend:
    """A message that was sent; awaiting it waits until the reader has caught up."""

    __slots__ = ("_outlet",)

    def __init__(self, outlet: Outlet | None) -> None:
        self._outlet = outlet

    def __await__(self) -> Generator[Any, Any, None]:
        outlet = self._outlet
        if outlet is None or not outlet.is_congested:
            return _AT_ONCE
        return outlet.wait_for_room().__await__()

    def __bool__(self) -> NoReturn:
        raise TypeError("a sent message is neither true nor false: whether the client received it is not known")


#: Nothing is waited for.
DONE = AwaitableSend(None)


class Awaited(Coroutine[Any, Any, R_co]):
    """A coroutine with the name of its call and without a truth value.

    Args:
        coroutine: the coroutine of the call.
        name: the call as an author writes it, such as `ctx.elicit`.
    """

    __slots__ = ("_coroutine", "_name")

    def __init__(self, coroutine: Coroutine[Any, Any, R_co], name: str) -> None:
        self._coroutine = coroutine
        self._name = name

    def __await__(self) -> Generator[Any, Any, R_co]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Resume the coroutine."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Resume the coroutine with an exception."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """Close the coroutine."""
        self._coroutine.close()

    def __bool__(self) -> bool:
        if sys._getframe(1).f_globals.get("__name__", "").startswith("asyncio."):
            return True  # since Python 3.12 it tests the coroutine for the repr of a task, often in debug mode
        raise TypeError(self._not_awaited())

    def __str__(self) -> str:
        raise TypeError(self._not_awaited())

    def __format__(self, spec: str) -> str:
        raise TypeError(self._not_awaited())

    def _not_awaited(self) -> str:
        self._coroutine.close()  # else Python warns later, and with less detail
        return f"{self._name} was not awaited, so there is no answer yet: write `await {self._name}(…)`"

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("cr_", "__")):  # read by asyncio and debuggers
            return getattr(self._coroutine, name)
        raise AttributeError(
            f"{self._name} was not awaited, so there is no {name} yet: write `await {self._name}(…)`"
        )

    def __repr__(self) -> str:
        return f"<{self._name}(…), not awaited>"


def refuse_not_awaited(value: Any, depth: int = 3) -> None:
    """Refuse the value of a handler that is, or contains, a call that was not awaited.

    Raises:
        ReturnedValueError: names the call.
    """
    if isinstance(value, Awaited):
        raise ReturnedValueError(value._not_awaited())
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for item in items if depth else ():
        refuse_not_awaited(item, depth - 1)


def to_await(
    name: str, *, usage: str = ""
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Return a decorator for `async def` methods of a context; their calls fail where nothing can await them.

    Args:
        name: the call as an author writes it, such as `ctx.elicit`.
        usage: added to the error for wrong arguments.
    """

    def decorated(method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        @wraps(method)
        def called(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            try:
                asyncio.get_running_loop()
            except RuntimeError:  # a thread, where plain `def` functions run
                raise RuntimeError(
                    f"{name} must be awaited, which a plain `def` function cannot do: "
                    f"make it `async def`, and write `await {name}(…)`"
                ) from None
            try:
                coroutine = method(*args, **kwargs)
            except TypeError as error:  # nothing of the method has run yet
                raise TypeError(f"{error}; {usage}" if usage else str(error)) from None
            return Awaited(coroutine, name)

        return called

    return decorated


# -- progress --------------------------------------------------------------------------------------------------
#
# Progress rises from report to report under one token (R-2B0). The token is that of the client's own request, so
# tools that it calls in turn share one `ProgressStream` with it. A burst of reports is sent at once; beyond it
# only the latest is kept until its turn comes. A report that still waits when the call ends is sent before the
# result, so that 100 % arrives, and nothing is sent after the result (R-2B0).


class Progress:
    """Reports the progress of a call, if the client sent a progress token."""

    __slots__ = ("_request", "_sent", "_stream", "_token")

    def __init__(self, request: Request) -> None:
        root = request.root
        self._request = request
        self._stream: ProgressSink | None = None
        self._token = root.meta.progress_token
        self._sent = AwaitableSend(root.channel.outlet)

    def report(self, progress: float, total: float | None = None, message: str | None = None) -> AwaitableSend:
        """Send a report of progress to the client.

        Args:
            progress: steps or share done so far, in the tool's own unit. It must rise from report to report,
                those of tools that this one calls included; the protocol forbids any other, so it is not sent
                (R-2B0).
            total: the final value of `progress`, if known.
            message: the present step, for a person to read.

        Returns:
            Await it to wait for a slow reader. Without a progress token in the client's request nothing is
            sent; of reports that come too fast, only the latest.
        """
        if self._token is UNSET or not -inf < progress < inf:
            return DONE
        if message is not None and self._request.redaction is not None:
            message = self._request.redaction.text(message)
        if get_ident() == self._request.channel.thread:
            self._take(progress, total, message)
        else:
            self._request.call_in_loop(self._take, progress, total, message)
        return self._sent

    def _take(self, progress: float, total: float | None, message: str | None) -> None:
        if self._request.is_done or self._token is UNSET:
            return
        if self._stream is None:
            root = self._request.root
            if root.progress is None:
                root.progress = ProgressStream(root, self._token)
            self._stream = root.progress
        self._stream.take(progress, total, message)


class ProgressStream:
    """All progress under one token; used in the event loop only.

    Args:
        request: the client's own request.
        token: its token.
    """

    __slots__ = (
        "_allowance",
        "_last",
        "_loop",
        "_notifications",
        "_pending",
        "_refilled",
        "_request",
        "_spare",
        "_timer",
    )

    def __init__(self, request: Request, token: ProgressToken) -> None:
        self._request = request
        self._notifications = ProgressNotifications(token, with_messages=_knows_messages(request.peer.revision))
        self._last = -inf
        self._spare = BURST  # no clock is read before these are used up
        self._allowance = 0.0
        self._refilled = -inf
        self._pending: tuple[float, float | None, str | None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def take(self, progress: float, total: float | None, message: str | None) -> None:
        """Send a report, now or when its turn comes; a later one replaces it until then.

        The caller has checked that neither its own request nor the client's is finished.
        """
        if not progress > self._last:
            return
        self._last = progress
        if self._spare > 0:
            self._spare -= 1
            self._request.channel.outlet.push(self._notifications.encoded(progress, total, message))
        elif self._timer is None and self._may_send():
            self._send(progress, total, message)
        else:
            self._pending = (progress, total, message)
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later((1 - self._allowance) / RATE, self._turn)

    def settle(self) -> None:
        """Send the pending report, because the call ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._turn()

    def _send(self, progress: float, total: float | None, message: str | None) -> None:
        self._request.channel.outlet.push(self._notifications.encoded(progress, total, message))

    def _may_send(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._refilled == -inf:
            self._refilled = now
        self._allowance = min(BURST, self._allowance + (now - self._refilled) * RATE)
        self._refilled = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _turn(self) -> None:
        self._timer = None
        pending, self._pending = self._pending, None
        if pending is not None and not self._request.is_done:
            self._may_send()
            self._send(*pending)


@cache
def _knows_messages(revision: str) -> bool:
    report = ProgressNotificationParams(progress_token=0, progress=0, message="")
    projected = project(report, revision)
    return isinstance(projected, ProgressNotificationParams) and projected.message is not UNSET


# -- log messages ----------------------------------------------------------------------------------------------
#
# The level belongs to the request (stateless revision) or to the session, never to the process (D27), and a
# message goes to the stream of the call that caused it (R-2B3). The server's own log is not touched here.


@advice_on_attributes(LOG_ATTRIBUTES)
class ClientLog:
    """Sends log messages of one call, if the client asked for their level.

    What the author logs is sent, without known secrets, and nothing else (R-712).

    `data` may be a text or any JSON value. With `extra`, `{"msg": data, "extra": extra}` is sent.
    """

    __slots__ = ("_request", "_sent", "_threshold")

    def __init__(self, request: Request) -> None:
        self._request = request
        root = request.root
        self._sent = AwaitableSend(root.channel.outlet)
        level = root.channel.log_level
        self._threshold = len(SEVERITY) if level is None else SEVERITY[level]

    def log(
        self,
        level: LoggingLevel,
        data: Any,
        logger: str | None = None,
        extra: Any = None,
    ) -> AwaitableSend:
        """Send one message at `level`; left out if the client wants only more severe ones (R-2B2, R-2B4)."""
        if SEVERITY[level] < self._threshold:
            return DONE
        payload = json_bytes(data if extra is None else {"msg": data, "extra": extra})
        request = self._request
        if request.redaction is not None:
            payload = request.redaction.json(payload)
        logger_member = b"" if logger is None else b'"logger":' + _encode(logger) + b","
        request.push(_HEADS[level] + logger_member + b'"data":' + payload + b"}}")
        return self._sent

    if not TYPE_CHECKING:  # type checkers report the call

        def __call__(self, *_args: object, **_options: object) -> NoReturn:
            """Refuse `ctx.log(...)`, which other frameworks have.

            Raises:
                TypeError: with the call to write instead.
            """
            raise TypeError(
                f"ctx.log is not callable; write await ctx.log.info(...), or ctx.log.log(level, ...) (see {PAGE})"
            )

    def debug(self, data: Any, logger: str | None = None, extra: Any = None) -> AwaitableSend:
        """Send a detail for debugging."""
        return self.log("debug", data, logger, extra)

    def info(self, data: Any, logger: str | None = None, extra: Any = None) -> AwaitableSend:
        """Send a normal event."""
        return self.log("info", data, logger, extra)

    def notice(self, data: Any, logger: str | None = None, extra: Any = None) -> AwaitableSend:
        """Send a normal but significant event."""
        return self.log("notice", data, logger, extra)

    def warning(self, data: Any, logger: str | None = None, extra: Any = None) -> AwaitableSend:
        """Send a warning."""
        return self.log("warning", data, logger, extra)

    def error(self, data: Any, logger: str | None = None, extra: Any = None) -> AwaitableSend:
        """Send an error."""
        return self.log("error", data, logger, extra)

    def critical(self, data: Any, logger: str | None = None, extra: Any = None) -> AwaitableSend:
        """Send the failure of a component."""
        return self.log("critical", data, logger, extra)

    def alert(self, data: Any, logger: str | None = None, extra: Any = None) -> AwaitableSend:
        """Send that immediate action is needed."""
        return self.log("alert", data, logger, extra)

    def emergency(self, data: Any, logger: str | None = None, extra: Any = None) -> AwaitableSend:
        """Send that the system is unusable."""
        return self.log("emergency", data, logger, extra)


async def set_level(request: Request) -> EmptyResult:
    """Handle `logging/setLevel`: remember the level for the rest of the session (R-367)."""
    if request.channel.session is not None:
        await request.channel.session.set_log_level(request.params.level)
    return EmptyResult()
