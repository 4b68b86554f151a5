"""What a handler sends to its client while it runs: progress and log messages (`ctx.progress`, `ctx.log`)."""

import asyncio
import re
import warnings
from collections.abc import Sequence
from functools import cache
from math import inf, isfinite
from threading import get_ident
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, Never, NoReturn

import msgspec
from msgspec import UNSET

from enfilade.primitives.foreign_names import LOG_ATTRIBUTES, PAGE
from enfilade.primitives.other_frameworks import advice_on_attributes
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.awaitables import DONE, AwaitableSend
from enfilade.serving.channel import ProgressSink
from enfilade.serving.request import Request, RequestState
from enfilade.wire.message import EmptyResult, ProgressToken
from enfilade.wire.notifications import SEVERITY, LoggingLevel, ProgressNotificationParams
from enfilade.wire.projection import project

#: Reports of progress that leave at once, and how many a second from then on (R-2B1).
BURST: Final = 1000
RATE: Final = 20.0

_encode: Final = msgspec.json.Encoder().encode

#: How the notifications of each level begin: the JSON of `LoggingMessageNotificationParams`, ready-made.
_HEADS: Final = {
    level: b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"%b",' % level.encode()
    for level in SEVERITY
}

#: Where the functions of `logging` put a further argument into the text.
_PLACEHOLDER: Final = re.compile(r"%[-\d.]*[sdrifgx]")

_ACTIVE: Final = RequestState.ACTIVE


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
        request = self._request
        if request.phase is not _ACTIVE or self._token is UNSET:
            return
        if request.parent is not None and request.parent.is_done:
            return
        if self._stream is None:
            root = request.root
            if root.progress is None:
                root.progress = ProgressStream(root, self._token)
            self._stream = root.progress
        self._stream.take(progress, total, message)


class ProgressNotifications:
    """Encodes the notifications of one token; their constant part is encoded once.

    Args:
        token: of the request.
        with_messages: whether the client's revision defines messages.
    """

    __slots__ = ("_head", "_tail", "_total", "_with_messages")

    def __init__(self, token: ProgressToken, *, with_messages: bool) -> None:
        self._head = (
            b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":'
            + _encode(token)
            + b',"progress":'
        )
        self._with_messages = with_messages
        self._total: float | None = None
        self._tail = b"}}"

    def encoded(self, progress: float, total: float | None, message: str | None) -> bytes:
        """Return a notification, equal to `ProgressNotificationParams` with the same values.

        A total that is not finite is omitted, as JSON has no number for it.
        """
        if total is not self._total:
            is_finite = total is not None and isfinite(total)
            self._tail = b',"total":' + _encode(total) + b"}}" if is_finite else b"}}"
            self._total = total
        if message is None or not self._with_messages:
            return self._head + _encode(progress) + self._tail
        return self._head + _encode(progress) + self._tail[:-2] + b',"message":' + _encode(message) + b"}}"


class ProgressStream:
    """All progress under one token; used in the event loop only."""

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
        *by_position: Never,
        logger: str | None = None,
        extra: Any = None,
    ) -> AwaitableSend:
        """Send one message at `level`; left out if the client wants only more severe ones (R-2B2, R-2B4)."""
        if by_position:
            logger, extra = _named(f'log("{level}", ', data, by_position, logger, extra)
        if SEVERITY[level] < self._threshold:
            return DONE
        if extra is not None:
            data = {"msg": data, "extra": extra}
        # Most messages are plain text, which needs none of the care that other values do.
        if type(data) is str and data.isascii():
            payload = _encode(data)
        else:
            payload = json_bytes(data, "What it logged", may_repeat_names=True)
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

    def debug(
        self, data: Any, *by_position: Never, logger: str | None = None, extra: Any = None
    ) -> AwaitableSend:
        """Send a detail for debugging."""
        if by_position:
            logger, extra = _named("debug(", data, by_position, logger, extra)
        return self.log("debug", data, logger=logger, extra=extra)

    def info(self, data: Any, *by_position: Never, logger: str | None = None, extra: Any = None) -> AwaitableSend:
        """Send a normal event."""
        if by_position:
            logger, extra = _named("info(", data, by_position, logger, extra)
        return self.log("info", data, logger=logger, extra=extra)

    def notice(
        self, data: Any, *by_position: Never, logger: str | None = None, extra: Any = None
    ) -> AwaitableSend:
        """Send a normal but significant event."""
        if by_position:
            logger, extra = _named("notice(", data, by_position, logger, extra)
        return self.log("notice", data, logger=logger, extra=extra)

    def warning(
        self, data: Any, *by_position: Never, logger: str | None = None, extra: Any = None
    ) -> AwaitableSend:
        """Send a warning."""
        if by_position:
            logger, extra = _named("warning(", data, by_position, logger, extra)
        return self.log("warning", data, logger=logger, extra=extra)

    def error(
        self, data: Any, *by_position: Never, logger: str | None = None, extra: Any = None
    ) -> AwaitableSend:
        """Send an error."""
        if by_position:
            logger, extra = _named("error(", data, by_position, logger, extra)
        return self.log("error", data, logger=logger, extra=extra)

    def critical(
        self, data: Any, *by_position: Never, logger: str | None = None, extra: Any = None
    ) -> AwaitableSend:
        """Send the failure of a component."""
        if by_position:
            logger, extra = _named("critical(", data, by_position, logger, extra)
        return self.log("critical", data, logger=logger, extra=extra)

    def alert(
        self, data: Any, *by_position: Never, logger: str | None = None, extra: Any = None
    ) -> AwaitableSend:
        """Send that immediate action is needed."""
        if by_position:
            logger, extra = _named("alert(", data, by_position, logger, extra)
        return self.log("alert", data, logger=logger, extra=extra)

    def emergency(
        self, data: Any, *by_position: Never, logger: str | None = None, extra: Any = None
    ) -> AwaitableSend:
        """Send that the system is unusable."""
        if by_position:
            logger, extra = _named("emergency(", data, by_position, logger, extra)
        return self.log("emergency", data, logger=logger, extra=extra)


def _named(
    call: str, data: Any, by_position: Sequence[Any], logger: str | None, extra: Any
) -> tuple[str | None, Any]:
    """Return the logger and the extra data of a message, which were arguments by position once.

    Args:
        call: the call as an author writes it, up to its text.

    Raises:
        TypeError: they are values for the text, as in calls of `logging`, or too many.
    """
    if isinstance(data, str) and _PLACEHOLDER.search(data):
        raise TypeError(
            f'ctx.log does not format its text as logging does; write ctx.log.{call}f"...{{value}}...")'
        )
    if len(by_position) > 2 or not isinstance(by_position[0], str | None):
        raise TypeError(
            f'ctx.log takes one text or value; write ctx.log.{call}f"...{{value}}..."), '
            f"or give more data by name: ctx.log.{call}..., extra={{...}})"
        )
    name, *more = by_position
    if (name is not None and logger is not None) or (more and extra is not None):
        raise TypeError(
            f'ctx.log takes one logger and one extra; write ctx.log.{call}..., logger="...", extra=...)'
        )
    message = f'give the logger of a message by name: ctx.log.{call}..., logger="...")'
    warnings.warn(message, DeprecationWarning, stacklevel=3)
    return logger if name is None else name, more[0] if more else extra


# Errors of Python about arguments name a method as authors write it.
for _owner, _call in ((ClientLog, "ctx.log"), (Progress, "ctx.progress")):
    for _name, _method in vars(_owner).items():
        if isinstance(_method, FunctionType) and not _name.startswith("_"):
            _method.__qualname__ = f"{_call}.{_name}"


async def set_level(request: Request) -> EmptyResult:
    """Handle `logging/setLevel`: remember the level for the rest of the session (R-367)."""
    if request.channel.session is not None:
        await request.channel.session.set_log_level(request.params.level)
    return EmptyResult()
