"""What is the same for every event stream: its headers, and how all streams of a server behave.

Easy to get wrong: proxies. They must neither keep an event back until there are more nor transform it.
"""

from typing import Final

import msgspec

from enfilade.transports.asgi_types import Headers

HEAD: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How event streams behave; times in seconds, sizes in bytes.

    Attributes:
        keep_alive: silence after which a comment is sent.
        capacity: what may wait for a slow reader before notifications are dropped.
        retry: after how long a client that was cut off should come back.
        write_timeout: how long a client may leave a response unread.
    """

    keep_alive: float = 15.0
    capacity: int = 1024 * 1024
    retry: float = 1.0
    write_timeout: float = 30.0
