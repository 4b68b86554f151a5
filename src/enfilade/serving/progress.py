"""Progress of a call, to the client that asked to know: rising, in order, and no faster than a person can read.

The protocol's rule is that progress rises from report to report under one token (R-2B0). The token is that of the
client's own request, so tools that it calls in turn share one `ProgressStream` with it. A burst of reports leaves
at once; beyond it only the latest is kept until its turn comes.

Easy to get wrong: the last one. What still waits when the call ends is sent before the result, so that 100 %
arrives (trap 21: and nothing after it).
"""

import asyncio
import math
from typing import Final

from msgspec import UNSET

from enfilade.serving.awaiting import DONE, Sent
from enfilade.serving.exchange import Request
from enfilade.wire.progress import ProgressNotificationParams

#: Reports that leave at once, and how many a second from then on.
BURST: Final = 20
RATE: Final = 20.0


class Progress:
    """Reports how far a call has come, to the client that asked to know."""

    __slots__ = ("_request",)

    def __init__(self, request: Request) -> None:
        self._request = request

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
        request = self._request
        root = request.root
        token = root.meta.progress_token
        if token is UNSET or not -math.inf < progress < math.inf:
            return DONE
        if message is not None and request.redaction is not None:
            message = request.redaction.text(message)
        params = ProgressNotificationParams(
            progress_token=token,
            progress=progress,
            total=UNSET if total is None or not math.isfinite(total) else total,
            message=UNSET if message is None else message,
        )
        request.in_loop(_take, request, params)
        return Sent(root.outlet)


def _take(request: Request, params: ProgressNotificationParams) -> None:
    if not request.over:
        root = request.root
        if root.progress is None:
            root.progress = ProgressStream(root)
        root.progress.take(params)


class ProgressStream:
    """All progress under one token; used in the event loop only.

    Args:
        request: the client's own request.
    """

    __slots__ = ("_allowance", "_last", "_loop", "_pending", "_request", "_timer", "_when")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._last = float("-inf")
        self._allowance = float(BURST)
        self._when = self._loop.time()
        self._pending: ProgressNotificationParams | None = None
        self._timer: asyncio.TimerHandle | None = None

    def take(self, params: ProgressNotificationParams) -> None:
        """Send a report, now or when its turn comes; a later one takes its place until then."""
        if not params.progress > self._last:
            return
        self._last = params.progress
        if self._timer is not None:
            self._pending = params
        elif self._may_send():
            self._request.notify("notifications/progress", params)
        else:
            self._pending = params
            self._timer = self._loop.call_later((1 - self._allowance) / RATE, self._turn)

    def settle(self) -> None:
        """Send what still waits: the call ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._turn()

    def _may_send(self) -> bool:
        now = self._loop.time()
        self._allowance = min(BURST, self._allowance + (now - self._when) * RATE)
        self._when = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _turn(self) -> None:
        self._timer = None
        pending, self._pending = self._pending, None
        if pending is not None:
            self._may_send()
            self._request.notify("notifications/progress", pending)
