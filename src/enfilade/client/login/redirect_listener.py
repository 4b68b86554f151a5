"""Where the browser returns after a login: a port of 127.0.0.1 that takes one response (RFC 8252 §7.3).

Easy to get wrong: who else comes to this port. Any page in the browser can send a request to it, so only one with
the `state` of this login ends it; all others get an error and change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import sys
from typing import Final
from urllib.parse import parse_qs, urlsplit

from enfilade.client.login.options import LoginError

_PATH: Final = "/callback"
#: Most bytes of a request's head, and seconds for it.
_MOST_BYTES: Final = 16 * 1024
_HEAD_TIMEOUT: Final = 10.0

_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Enfilade</title>"
    "<style>body{{font:1.1rem system-ui;margin:20vh auto;max-width:30rem;text-align:center}}</style>"
    "<h1>{title}</h1><p>{text}</html>"
)
_DONE: Final = _PAGE.format(title="You are logged in", text="You may close this window.")
_FAILED: Final = _PAGE.format(title="Not logged in", text="The terminal says why. You may close this window.")
_FOREIGN: Final = _PAGE.format(title="No login", text="This request belongs to no login that waits here.")


class PortInUseError(LoginError):
    """Another program listens at the port to which the browser returns."""


class RedirectListener:
    """Waits for the browser.

    Args:
        port: of 127.0.0.1; 0 for any that is free.

    Raises:
        PortInUseError: the port is in use.
    """

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.socket()
        if sys.platform != "win32":  # where it would let other programs take the port
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen()  # until then, others could bind it too
        except OSError:
            self._socket.close()
            raise PortInUseError(
                f"port {port} of 127.0.0.1, to which the browser returns, is in use: end what uses it, or choose "
                "another one by --redirect-port"
            ) from None
        self.port: int = self._socket.getsockname()[1]
        self._state = ""
        self._response: asyncio.Future[dict[str, str]] | None = None
        self._server: asyncio.Server

    @property
    def redirect_uri(self) -> str:
        """Where the browser returns."""
        return f"http://127.0.0.1:{self.port}{_PATH}"

    def close(self) -> None:
        """Release the port."""
        self._socket.close()

    async def start(self, state: str) -> None:
        """Listen for the response with a state."""
        self._state = state
        self._response = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(self._serve, sock=self._socket, limit=_MOST_BYTES)

    async def response(self, timeout: float) -> dict[str, str]:
        """Return the parameters of the response, and listen no longer.

        Raises:
            LoginError: it has not come in time.
        """
        assert self._response is not None, "start() comes first"
        try:
            return await asyncio.wait_for(self._response, timeout)
        except TimeoutError:
            raise LoginError(f"nobody has logged in within {timeout:g} s") from None
        finally:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_TIMEOUT)
            status, page = self._answer(head.decode("latin-1"))
            writer.write(_response(status, page))
            await asyncio.wait_for(writer.drain(), _HEAD_TIMEOUT)
        writer.close()

    def _answer(self, head: str) -> tuple[str, str]:
        """Take in a request, and return the status and the page for it."""
        lines = head.split("\r\n")
        method, _, remainder = lines[0].partition(" ")
        target = urlsplit(remainder.partition(" ")[0])
        hosts = [line.partition(":")[2].strip() for line in lines[1:] if line.lower().startswith("host:")]
        if method != "GET" or target.path != _PATH or hosts != [f"127.0.0.1:{self.port}"]:
            return "404 Not Found", _FOREIGN
        parameters = {name: values[0] for name, values in parse_qs(target.query).items() if len(values) == 1}
        if not secrets.compare_digest(parameters.get("state", "").encode(), self._state.encode()):
            return "400 Bad Request", _FOREIGN
        if self._response is not None and not self._response.done():
            self._response.set_result(parameters)
        return ("200 OK", _DONE) if "code" in parameters else ("200 OK", _FAILED)


def _response(status: str, page: str) -> bytes:
    body = page.encode()
    headers = (
        f"HTTP/1.1 {status}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        "Cache-Control: no-store",
        "Referrer-Policy: no-referrer",
        "Connection: close",
    )
    return "\r\n".join((*headers, "", "")).encode() + body
