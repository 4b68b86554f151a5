"""Log messages to the client: which of them a request may send, and how the level is set.

The level belongs to the request (stateless era) or the session, never to the process (D27), and a message goes
to the stream of the call that caused it. The server's own log is another matter and is never touched here.
"""

from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from enfilade.primitives.habits import OF_LOG, PAGE, explaining
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.awaitables import DONE, Sent
from enfilade.serving.request import Request
from enfilade.wire.logging import SEVERITY, LoggingLevel
from enfilade.wire.message import EmptyResult

_encode: Final = msgspec.json.Encoder().encode

#: How the notifications of each level begin: what `LoggingMessageNotificationParams` makes of it, ready-made.
_HEADS: Final = {
    level: b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"%b",' % level.encode()
    for level in SEVERITY
}


@explaining(OF_LOG)
class ClientLog:
    """Sends log messages of one call, if the client asked for their level.

    `data` may be a text or anything JSON can carry. With `extra`, `{"msg": data, "extra": extra}` is sent.
    """

    __slots__ = ("_request", "_sent", "_threshold")

    def __init__(self, request: Request) -> None:
        self._request = request
        root = request.root
        self._sent = Sent(root.channel.outlet)
        level = root.channel.log_level
        self._threshold = len(SEVERITY) if level is None else SEVERITY[level]

    def log(
        self,
        level: LoggingLevel,
        data: Any,
        logger: str | None = None,
        extra: Any = None,
    ) -> Sent:
        """Send one message at `level`; left out if the client wants only more severe ones (R-2B2, R-2B4)."""
        if SEVERITY[level] < self._threshold:
            return DONE
        said = json_bytes(data if extra is None else {"msg": data, "extra": extra})
        request = self._request
        if request.redaction is not None:
            said = request.redaction.json(said)
        named = b"" if logger is None else b'"logger":' + _encode(logger) + b","
        request.push(_HEADS[level] + named + b'"data":' + said + b"}}")
        return self._sent

    if not TYPE_CHECKING:  # for type checkers it is no function

        def __call__(self, *_args: object, **_options: object) -> NoReturn:
            """Refuse a call, as other frameworks have it.

            Raises:
                TypeError: says what to write.
            """
            raise TypeError(
                f"ctx.log is no function: await ctx.log.info(...), or ctx.log.log(level, ...) (see {PAGE})"
            )

    def debug(self, data: Any, logger: str | None = None, extra: Any = None) -> Sent:
        """Send a detail that helps to find a fault."""
        return self.log("debug", data, logger, extra)

    def info(self, data: Any, logger: str | None = None, extra: Any = None) -> Sent:
        """Send what happens in the normal course."""
        return self.log("info", data, logger, extra)

    def notice(self, data: Any, logger: str | None = None, extra: Any = None) -> Sent:
        """Send what is normal and yet worth a look."""
        return self.log("notice", data, logger, extra)

    def warning(self, data: Any, logger: str | None = None, extra: Any = None) -> Sent:
        """Send what may go wrong."""
        return self.log("warning", data, logger, extra)

    def error(self, data: Any, logger: str | None = None, extra: Any = None) -> Sent:
        """Send what went wrong."""
        return self.log("error", data, logger, extra)

    def critical(self, data: Any, logger: str | None = None, extra: Any = None) -> Sent:
        """Send that a part has failed."""
        return self.log("critical", data, logger, extra)

    def alert(self, data: Any, logger: str | None = None, extra: Any = None) -> Sent:
        """Send that somebody must act at once."""
        return self.log("alert", data, logger, extra)

    def emergency(self, data: Any, logger: str | None = None, extra: Any = None) -> Sent:
        """Send that nothing works any more."""
        return self.log("emergency", data, logger, extra)


async def set_level(request: Request) -> EmptyResult:
    """Handle `logging/setLevel`: remember the level for the rest of the session (R-367)."""
    if request.channel.session is not None:
        await request.channel.session.set_log_level(request.params.level)
    return EmptyResult()
