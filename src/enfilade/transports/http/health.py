"""Answers to probes: is the process alive, and should it be sent requests?

Probes call by IP address and without credentials, so neither is asked for, and nothing is told but a short
reason. The easy thing to get wrong is to mix up the two questions: a process that drains, or whose store is out
of reach, is not ready, but to restart it would help nobody.
"""

from collections.abc import MutableMapping
from typing import Any, Final

import msgspec

from enfilade.transports.asgi_types import Headers, Send
from enfilade.transports.http.response import send_json

_NOT_KEPT: Final = (b"cache-control", b"no-store")


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a probe reads.

    Attributes:
        status: `ok` or `unavailable`.
        reason: why it is unavailable.
    """

    status: str
    reason: str | None = None


async def answer_probe(scope: MutableMapping[str, Any], send: Send, reason: str | None, headers: Headers) -> None:
    """Answer a probe.

    Args:
        scope: of its request.
        send: of its request.
        reason: why the answer is no; None for yes.
        headers: what the response carries besides.
    """
    headers = [_NOT_KEPT, *headers]
    if scope["method"] not in ("GET", "HEAD"):
        body = msgspec.json.encode(Health("unavailable", "probes use GET or HEAD"))
        await send_json(send, 405, body, [*headers, (b"allow", b"GET, HEAD")])
        return
    found = Health("ok") if reason is None else Health("unavailable", reason)
    await send_json(send, 200 if reason is None else 503, msgspec.json.encode(found), headers)
