"""What a change costs that goes to many streams: processor time of the server for each listener.

The easy thing to get wrong is the last stream: the server has done its work only when every one of them has the
change, and its log as well.
"""

import contextlib
import selectors
import socket
import time
from typing import Any, Final

from messages import Client, call, check, listen
from processes import HOST, BenchError, Server
from results import Figures
from works import Work

_CHANGE: Final = b"notifications/tools/list_changed"
_ADDRESSES: Final = 8  # from which the streams come, since one may have half of all
_PATIENCE: Final = 20.0  # seconds until every stream must have a change
_AFTER: Final = 0.5  # seconds in which the log takes what was sent


def changing(server: Server, work: Work, seconds: int) -> Figures:
    """Return the microseconds of the server for a change and one listener.

    Args:
        server: a fresh one, whose tool changes the list of tools.
        work: the call of this tool, and the number of listeners.
        seconds: changes that are counted.

    Raises:
        BenchError: a stream was refused, or missed a change.
    """
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(server.port))
        caller = client.open_session()
        sessions = [client.open_session() for _ in range(work.listeners)]
        selector = stack.enter_context(selectors.DefaultSelector())
        for number, session in enumerate(sessions):
            source = (f"127.0.0.{1 + number % _ADDRESSES}", 0)
            line = stack.enter_context(socket.create_connection((HOST, server.port), 10.0, source))
            line.sendall(listen(server.port, session))
            if not (said := line.recv(4096)).startswith(b"HTTP/1.1 200"):
                raise BenchError(f"stream {number} was refused: {said[:300]!r}")
            line.setblocking(False)
            selector.register(line, selectors.EVENT_READ)
        request = call(server.port, work, caller)
        _change(client, request, work, selector)  # the first makes what every later one uses
        idle_start, busy_start = server.worked(), time.perf_counter()
        time.sleep(2.0)
        idle = (server.worked() - idle_start) / (time.perf_counter() - busy_start)
        start, since = server.worked(), time.perf_counter()
        for _ in range(seconds):
            _change(client, request, work, selector)
        worked = server.worked() - start - idle * (time.perf_counter() - since)
    return {"cpu": worked / seconds / work.listeners * 1e6}


def _change(client: Client, request: bytes, work: Work, selector: Any) -> None:
    """Let the server change, and return when every stream has heard of it and the log has been written."""
    check(work, *client.ask(request))
    missing, end = work.listeners, time.monotonic() + _PATIENCE
    while missing and time.monotonic() < end:
        for key, _ in selector.select(0.1):
            missing -= key.fileobj.recv(65536).count(_CHANGE)
    if missing:
        raise BenchError(f"{missing} of {work.listeners} streams missed a change, or had it twice")
    time.sleep(_AFTER)
