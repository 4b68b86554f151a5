"""A stream of events that is whole before anything of it was sent.

Its length is known, so head and body go out together. The easy thing to get wrong is to set a timer for a client
that does not read: nearly always the connection takes all of it at once.
"""

import asyncio
import logging

from enfilade.transports.asgi_types import Headers, Send
from enfilade.transports.http.eager import going_on
from enfilade.transports.http.stream_options import HEAD

log = logging.getLogger("enfilade.transports")


async def send_events(send: Send, body: bytes, headers: Headers) -> None:
    """Send it.

    Args:
        headers: response headers besides those of every event stream.
    """
    head = [*HEAD, (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def send_at_once(send: Send, body: bytes, headers: Headers, patience: float) -> None:
    """Send it to a client that may have gone, which is no failure.

    Args:
        patience: seconds that the connection has to take it.

    Raises:
        TimeoutError: it did not.
    """
    sending = send_events(send, body, headers)
    try:
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        async with asyncio.timeout(patience):
            await going_on(sending, waits_for)
    except TimeoutError:
        raise
    except Exception as error:  # servers differ in what they raise once the client is gone, if anything
        log.debug("the reader of a stream went away: %r", error)
