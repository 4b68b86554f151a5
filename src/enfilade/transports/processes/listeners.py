"""Binding before the server starts, so that a failure is reported first and all workers share the sockets.

A server listens on a port, on a Unix socket, or on sockets that it inherited, by descriptor or from systemd.

The sockets are bound here and listen only when the server is ready to accept: until then a client is refused
and does not wait. Easy to get wrong: a name can have several addresses, as `localhost` has; all of them are
bound, on one port.
"""

import asyncio
import errno
import os
import socket
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

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


class SocketFile(NamedTuple):
    """The file of a Unix socket that this process has made.

    Attributes:
        inode: by which another file of the name is told apart.
    """

    path: str
    inode: int

    def remove(self) -> None:
        """Remove the file, unless another server has put its own there."""
        with suppress(OSError):
            if os.lstat(self.path).st_ino == self.inode:
                os.unlink(self.path)


class ListenOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server listens.

    Attributes:
        uds: path of a Unix socket, in place of host and port.
        uds_mode: its permissions.
        fd: descriptor of a socket that was inherited; negative for none.
    """

    host: str
    port: int
    uds: str = ""
    uds_mode: int = 0o660
    fd: int = -1

    def listeners(self) -> list[socket.socket]:
        """Return bound sockets, or those that were inherited: by `fd`, or else from systemd.

        Raises:
            ListenError: the text says why there are none.
        """
        if self.uds:
            return [bind_unix(self.uds, self.uds_mode)]
        if self.fd >= 0:
            return inherited([self.fd])
        if "LISTEN_FDS" in os.environ:  # few servers are started so
            from enfilade.transports.processes.service_manager import take_descriptors

            if descriptors := take_descriptors():
                return inherited(descriptors)
        return bind(self.host, self.port)

    @property
    def socket_file(self) -> SocketFile | None:
        """The file of the Unix socket, which is to be removed at the end; None without one."""
        return SocketFile(self.uds, os.lstat(self.uds).st_ino) if self.uds else None


async def listen_in_thread(options: ListenOptions) -> list[socket.socket]:
    """Return listeners without blocking the event loop while a name is resolved.

    Raises:
        ListenError: the text says why it cannot be bound.
    """
    binding = asyncio.ensure_future(asyncio.to_thread(options.listeners))
    try:
        return await asyncio.shield(binding)
    except asyncio.CancelledError:
        binding.add_done_callback(_close_bound)  # a thread cannot be cancelled
        raise


def _close_bound(binding: "asyncio.Future[list[socket.socket]]") -> None:
    if not binding.cancelled() and binding.exception() is None:
        for sock in binding.result():
            sock.close()


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


def bind_unix(path: str, mode: int) -> socket.socket:
    """Return a Unix socket that is bound to a path, and does not listen yet.

    A file that a server has left behind is removed. Nobody can connect before the socket listens, and by then it
    has its permissions.

    Raises:
        ListenError: the text says why it cannot be bound.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ListenError("this system has no Unix sockets; choose a port")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, mode)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on the Unix socket {path!r}: {_explain_unix(error, path)}") from None
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket on which nobody listens.

    Raises:
        ListenError: another server listens there, or the file is no socket.
    """
    try:
        kind = os.lstat(path).st_mode
    except OSError:  # it is not there, or binding says why it cannot be
        return
    if not stat.S_ISSOCK(kind):
        raise ListenError(f"cannot listen on {path!r}: there is a file that is no socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with suppress(OSError):  # binding says why
                os.unlink(path)
            return
        except PermissionError:
            raise ListenError(f"cannot listen on {path!r}: the socket belongs to another user") from None
        except OSError:  # its queue is full, say
            pass
    raise ListenError(f"{path!r} is in use: another server listens there; stop it, or choose another path")


def _explain_unix(error: OSError, path: str) -> str:
    folder = os.path.dirname(path) or "."
    if error.errno == errno.ENOENT:
        return f"there is no folder {folder!r}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"this user may not write in {folder!r}"
    if "too long" in str(error):
        return "the path is too long; most systems allow 107 bytes"
    return str(error.strerror or error)


def inherited(descriptors: Sequence[int]) -> list[socket.socket]:
    """Return the sockets of descriptors that another program has opened.

    Raises:
        ListenError: one of them is no socket to which clients can connect.
    """
    sockets = []
    for descriptor in descriptors:
        try:
            sock = socket.socket(fileno=descriptor)
            is_stream = sock.type == socket.SOCK_STREAM and _is_bound(sock) and not _is_connected(sock)
        except OSError as error:
            raise ListenError(f"descriptor {descriptor} is no open socket: {error.strerror}") from None
        if not is_stream:
            sock.detach()
            raise ListenError(
                f"descriptor {descriptor} is no bound stream socket, such as ListenStream= of systemd"
            )
        sock.set_inheritable(False)
        sockets.append(sock)
    return sockets


def _is_bound(sock: socket.socket) -> bool:
    name = sock.getsockname()
    return bool(name[1]) if isinstance(name, tuple) else bool(name)


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def address_of(listener: socket.socket) -> int | str:
    """Return the port of a listener; for a Unix socket, its path."""
    name = listener.getsockname()
    return str(name) if isinstance(name, str | bytes) else int(name[1])


def _explain(error: OSError, host: str, port: int) -> str:
    endpoint = f"port {port} of {host or 'this machine'}"
    if error.errno == errno.EADDRINUSE:
        return f"{endpoint} is in use: another server may be running there; stop it, or choose another port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{endpoint} may not be used by this user; choose a port above 1023"
    if error.errno in _FAMILY_ERRORS:
        return f"cannot listen on {host!r}: it is no address of this machine"
    return f"cannot listen on {endpoint}: {error.strerror or error}"
