"""What sessions and streams cost that only wait: resident memory of the server, by two looks at it.

The easy thing to get wrong is the first look: a server that has not worked yet grows by what every server
needs, so many sessions are opened and streams are held before it.
"""

import contextlib
import resource
import socket
import time
from typing import Final

from load import Load
from messages import Client, listen
from processes import HOST, BenchError, Server
from results import Figures
from works import HANDSHAKE

STREAMS: Final = 800  # some servers stop at 1,024
_BEFORE: Final = 100  # streams that are open at the first look
_ADDRESSES: Final = 2  # from which they come, since some servers stop at 512 of one
# Sessions opened before the first look, so that a cache of sessions is full; some servers stop at 10,000 in all.
_FIRST: Final = 4500
_FIRST_SECONDS: Final = 10  # the longest time for that
_LOOK: Final = 0.5  # seconds between two looks at a server that comes to rest
_PATIENCE: Final = 20  # looks
_FILES: Final = 8192


def allow_files() -> None:
    """Let this process, and the servers it starts, have some thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, hard), hard))


def idle(server: Server, seconds: int) -> Figures:
    """Return the KiB of a session and of an open GET stream.

    Args:
        server: a fresh one.
        seconds: how long to open sessions between the two looks.

    Raises:
        BenchError: it refused one.
    """
    load = Load(server, HANDSHAKE)
    load.prepare()
    opened = 0.0
    for _ in range(_FIRST_SECONDS):
        if opened < _FIRST:
            opened += load.run(1)
    before = _at_rest(server)
    opened = load.run(seconds)
    return {"session": (_at_rest(server) - before) / opened / 1024, "stream": _streams(server)}


def _at_rest(server: Server) -> int:
    """Wait until the server does nothing, and return its memory."""
    worked = server.worked()
    for _ in range(_PATIENCE):
        time.sleep(_LOOK)
        worked, before = server.worked(), worked
        if worked - before < _LOOK / 50:
            break
    return server.memory()


def _streams(server: Server) -> float:
    with Client(server.port) as client:
        sessions = [client.open_session() for _ in range(_BEFORE + STREAMS)]
    with contextlib.ExitStack() as stack:

        def hold(number: int) -> socket.socket:
            source = (f"127.0.0.{1 + number % _ADDRESSES}", 0)
            line = stack.enter_context(socket.create_connection((HOST, server.port), 10.0, source))
            line.sendall(listen(server.port, sessions[number]))
            return line

        held = [hold(number) for number in range(_BEFORE)]
        before = _at_rest(server)
        held += [hold(number) for number in range(_BEFORE, len(sessions))]
        after = _at_rest(server)
        refused = [said for line in held if not (said := _said(line)).startswith((b"HTTP/1.1 200", b"nothing"))]
    if refused:
        raise BenchError(f"{len(refused)} of {len(held)} GET streams were refused: {refused[0][:300]!r}")
    return (after - before) / STREAMS / 1024


def _said(line: socket.socket) -> bytes:
    """Return what a stream has said. Some servers send nothing, not even a head, before there is an event."""
    line.setblocking(False)
    try:
        return line.recv(4096) or b"closed"
    except BlockingIOError:
        return b"nothing"
    except OSError as error:
        return repr(error).encode()
