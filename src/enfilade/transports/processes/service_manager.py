"""systemd: the sockets that it has opened for this process, and the messages that it waits for (sd_notify).

Protocols of `sd_listen_fds(3)` and `sd_notify(3)`. The variables are taken out of the environment, so that
processes that the server starts do not take them for their own. Easy to get wrong: a message that blocks. They
are sent without waiting, and one that cannot be sent is dropped.
"""

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

log = logging.getLogger("enfilade")

_FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START


def take_descriptors(environment: MutableMapping[str, str] = os.environ) -> list[int]:
    """Return the descriptors that systemd has opened for this process; none without socket activation."""
    process, count = environment.get("LISTEN_PID", ""), environment.get("LISTEN_FDS", "")
    if process != str(os.getpid()) or not count.isdecimal():
        return []
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(name, None)
    return list(range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)))


class ServiceManager:
    """Tells systemd how the service is; without systemd it does nothing.

    Attributes:
        is_there: whether somebody waits for messages.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        process, interval = environment.pop("WATCHDOG_PID", ""), environment.pop("WATCHDOG_USEC", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._interval = 0.0  # seconds between two signs of life, half of what systemd allows
        if interval.isdecimal() and process in ("", str(os.getpid())):
            self._interval = int(interval) / 2e6
        self._next_sign = 0.0
        self._is_ready = False

    @property
    def is_there(self) -> bool:
        return bool(self._address)

    def ready(self) -> None:
        """Say once that requests are served."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1\nSTATUS=serving")

    def stopping(self) -> None:
        """Say that the server stops."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """Give a sign of life, if one is due: it is called several times a second."""
        if self._interval and self._address and (now := time.monotonic()) >= self._next_sign:
            self._next_sign = now + self._interval
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(text.encode(), self._address)
        except (OSError, AttributeError) as error:  # no such sockets on Windows
            log.debug("the service manager could not be told: %s", error)
