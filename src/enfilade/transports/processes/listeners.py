"""Binding a port before the server starts, so that a failure is reported first and all workers share the sockets.

The sockets are bound here and listen only when the server is ready to accept: until then a client is refused
and does not wait. Easy to get wrong: a name can have several addresses, as `localhost` has; all of them are
bound, on one port.
"""

import errno
import os
import socket
import sys
from contextlib import suppress
from typing import Final

#: Errors of an address family that this machine does not have; another address of the host may work.
_FAMILY_ERRORS: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class ListenError(OSError):
    """An address or port cannot be bound; the text is for whoever starts the server."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets that are bound to all addresses of a host, and do not listen yet.

    Args:
        host: an address, or a name of this machine; empty for all addresses.
        port: the port; 0 for a free one, which is the same for all addresses.

    Raises:
        ListenError: the text says why it cannot be bound.
    """
    try:
        infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError, OverflowError):
        raise ListenError(f"cannot listen on {host!r}: there is no such host") from None
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(infos):
        port = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_bind_one(family, kind, protocol, (address[0], port, *address[2:])))
        except OSError as error:
            failure = error
            if error.errno not in _FAMILY_ERRORS:
                break
    if failure is not None and (not sockets or failure.errno not in _FAMILY_ERRORS):
        for sock in sockets:
            sock.close()
        raise ListenError(_explain(failure, host, port)) from None
    return sockets


def _bind_one(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
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


def _explain(error: OSError, host: str, port: int) -> str:
    endpoint = f"port {port} of {host or 'this machine'}"
    if error.errno == errno.EADDRINUSE:
        return f"{endpoint} is in use: another server may be running there; stop it, or choose another port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{endpoint} may not be used by this user; choose a port above 1023"
    if error.errno in _FAMILY_ERRORS:
        return f"cannot listen on {host!r}: it is no address of this machine"
    return f"cannot listen on {endpoint}: {error.strerror or error}"
