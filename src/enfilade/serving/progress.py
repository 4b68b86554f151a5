"""Progress of a call, to the client that asked to know: rising, in order, and not as a flood.

The protocol's rule is that progress rises from report to report under one token (R-2B0). The token is that of the
client's own request, so tools that it calls in turn share one `ProgressStream` with it. A burst of reports leaves
at once; beyond it only the latest is kept until its turn comes.

Easy to get wrong: the last one. What still waits when the call ends is sent before the result, so that 100 %
arrives (trap 21: and nothing after it).
"""

import asyncio
from functools import cache
from math import inf
from threading import get_ident
from typing import Final

from msgspec import UNSET

from enfilade.serving.awaitables import DONE, Sent
from enfilade.serving.channel import ProgressSink
from enfilade.serving.request import Request
from enfilade.wire.message import ProgressToken
from enfilade.wire.progress import ProgressNotificationParams, ProgressNotifications
from enfilade.wire.projection import project

#: Reports that leave at once, and how many a second from then on (R-2B1).
BURST: Final = 1000
RATE: Final = 20.0


class Progress:
    """Reports how far a call has come, to the client that asked to know."""

    __slots__ = ("_request", "_sent", "_stream", "_token")

    def __init__(self, request: Request) -> None:
        root = request.root
        self._request = request
        self._stream: ProgressSink | None = None
        self._token = root.meta.progress_token
        self._sent = Sent(root.channel.outlet)

    def report(self, progress: float, total: float | None = None, message: str | None = None) -> Sent:
        """Tell the client how far the call has come.

        Args:
            progress: steps or share done so far, in the tool's own unit. It must rise from report to report,
                those of tools that this one calls included; one that does not is left out, as the protocol
                forbids it (R-2B0).
            total: where `progress` will end, if known.
            message: what is happening, for a person to read.

        Returns:
            Something that may be awaited to wait for a slow reader. Without a progress token in the client's
            request nothing is sent; of reports that come too fast, only the latest.
        """
        if self._token is UNSET or not -inf < progress < inf:
            return DONE
        if message is not None and self._request.redaction is not None:
            message = self._request.redaction.text(message)
        if get_ident() == self._request.channel.thread:
            self._take(progress, total, message)
        else:
            self._request.in_loop(self._take, progress, total, message)
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
        "_request",
        "_spare",
        "_timer",
        "_when",
    )

    def __init__(self, request: Request, token: ProgressToken) -> None:
        self._request = request
        self._notifications = ProgressNotifications(token, with_messages=_knows_messages(request.peer.revision))
        self._last = -inf
        self._spare = BURST  # nobody looks at a clock before they have left
        self._allowance = 0.0
        self._when = -inf
        self._pending: tuple[float, float | None, str | None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def take(self, progress: float, total: float | None, message: str | None) -> None:
        """Send a report, now or when its turn comes; a later one takes its place until then.

        Whoever reports has made sure that neither its own request nor the client's is over.
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
        """Send what still waits: the call ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._turn()

    def _send(self, progress: float, total: float | None, message: str | None) -> None:
        self._request.channel.outlet.push(self._notifications.encoded(progress, total, message))

    def _may_send(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._when == -inf:
            self._when = now
        self._allowance = min(BURST, self._allowance + (now - self._when) * RATE)
        self._when = now
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
    shown = project(report, revision)
    return isinstance(shown, ProgressNotificationParams) and shown.message is not UNSET
