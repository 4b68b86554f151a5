"""Binding a port before anything is said about it or started for it.

The sockets are bound here and listen later, when the server is ready to accept: until then a client is refused
rather than left waiting. The easy thing to get wrong is a name with several addresses, as `localhost` has: all of
them are bound, at one port.
"""

import errno
import os
import socket
import sys
from contextlib import suppress
from typing import Final

#: What a machine says of an address of a kind that it does not have, of which another one may do.
_ABSENT: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class ListenError(OSError):
    """An address or port cannot be bound; the text is for whoever starts the server."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets that are bound to all addresses of a host, and do not listen yet.

    Args:
        host: an address, or a name of this machine; empty for all addresses.
        port: the port; 0 for a free one, which is the same for all addresses.

    Raises:
        ListenError: it cannot be done; the text says why.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError, OverflowError):
        raise ListenError(f"cannot listen on {host!r}: there is no such host") from None
    bound: list[socket.socket] = []
    failure: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        port = bound[0].getsockname()[1] if bound else port
        try:
            bound.append(_bound(family, kind, protocol, (address[0], port, *address[2:])))
        except OSError as error:
            failure = error
            if error.errno not in _ABSENT:
                break
    if failure is not None and (not bound or failure.errno not in _ABSENT):
        for each in bound:
            each.close()
        raise ListenError(_explained(failure, host, port)) from None
    return bound


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix" and sys.platform != "cygwin":  # elsewhere it would let two programs share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):  # so that 0.0.0.0 can be bound beside ::
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _explained(error: OSError, host: str, port: int) -> str:
    place = f"port {port} of {host or 'this machine'}"
    if error.errno == errno.EADDRINUSE:
        return f"{place} is in use: another server may be running there; stop it, or choose another port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{place} may not be used by this user; choose a port above 1023"
    if error.errno in _ABSENT:
        return f"cannot listen on {host!r}: it is no address of this machine"
    return f"cannot listen at {place}: {error.strerror or error}"
