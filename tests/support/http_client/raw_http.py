"""An application on a raw connection: it does what the path says, some of it only when the test lets it.

Easy to get wrong: a response that has been read is not a request that is over. The server counts it afterwards,
so what is looked up inside of the server has to be waited for.
"""

import asyncio
import http.client
import io
import socket
import threading
from typing import Any

from support.harness import Serving

CHUNK = b"x" * 65536


class App:
    """Does what the path says, and remembers what happened."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.scopes: list[dict[str, Any]] = []
        self.go = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["warm"] = "yes"
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.scopes.append({**scope, "headers": list(scope["headers"])})
        self.seen.append(scope["path"])
        await getattr(self, scope["path"].strip("/").split("/")[-1], self.echo)(scope, receive, send)

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, await read(receive))

    async def held(self, scope: Any, receive: Any, send: Any) -> None:
        while not self.go.is_set():
            await asyncio.sleep(0.005)
        await answer(send, b"held")

    async def wait(self, scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        self.seen.append((await receive())["type"])
        await answer(send, b"nobody gets this")
        self.seen.append("sent in silence")

    async def wait_twice(self, scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        one, other = asyncio.ensure_future(receive()), asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        self.seen.append("waiting" if one.cancelled() and not other.done() else "confused")
        self.seen.append((await other)["type"])
        await answer(send, b"nobody gets this")

    async def stream(self, scope: Any, receive: Any, send: Any) -> None:
        await start(send, [])
        self.seen.append("started")
        while not self.go.is_set():
            await asyncio.sleep(0.005)
        for part in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async def flood(self, scope: Any, receive: Any, send: Any) -> None:
        await start(send, [])
        self.sent = 0
        while True:
            sending = asyncio.create_task(send({"type": "http.response.body", "body": CHUNK, "more_body": True}))
            self.sent += len(CHUNK)
            for _ in range(3):
                await asyncio.sleep(0)
            if not sending.done():
                self.seen.append("paused")
                await sending
                break
        await send({"type": "http.response.body"})
        self.seen.append("over")

    async def unread(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"not wanted")

    async def fails(self, scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("before")

    async def fails_later(self, scope: Any, receive: Any, send: Any) -> None:
        await start(send, [(b"content-length", b"9")])
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        raise ValueError("after")

    async def starts_nothing(self, scope: Any, receive: Any, send: Any) -> None:
        pass

    async def returns_something(self, scope: Any, receive: Any, send: Any) -> Any:
        await start(send, [(b"content-length", b"9")])
        return 1

    async def never_ends(self, scope: Any, receive: Any, send: Any) -> None:
        await start(send, [(b"content-length", b"9")])

    async def too_long(self, scope: Any, receive: Any, send: Any) -> None:
        await start(send, [(b"content-length", b"2")])
        await send({"type": "http.response.body", "body": b"more"})

    async def too_short(self, scope: Any, receive: Any, send: Any) -> None:
        await start(send, [(b"content-length", b"8")])
        await send({"type": "http.response.body", "body": b"less"})

    async def splits_the_head(self, scope: Any, receive: Any, send: Any) -> None:
        await start(send, [(b"location", b"/\r\nset-cookie: a=b")])

    async def odd_name(self, scope: Any, receive: Any, send: Any) -> None:
        await start(send, [(b"a b", b"c")])

    async def nothing(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def says_close(self, scope: Any, receive: Any, send: Any) -> None:
        await start(send, [(b"Connection", b"Close"), (b"content-length", b"0")])
        await send({"type": "http.response.body"})


async def read(receive: Any) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def start(send: Any, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def answer(send: Any, body: bytes) -> None:
    await start(send, [(b"content-type", b"text/plain"), (b"Content-Length", b"%d" % len(body))])
    await send({"type": "http.response.body", "body": body})


def request(path: str, *lines: str, method: str = "GET", body: bytes = b"", version: str = "1.1") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    head = [f"{method} {path} HTTP/{version}", "Host: x", *length, *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


class Client:
    """A raw connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.file = self.socket.makefile("rb")

    def send(self, *args: Any, **more: Any) -> None:
        self.socket.sendall(request(*args, **more))

    def response(self, method: str = "GET") -> http.client.HTTPResponse:
        found = http.client.HTTPResponse(self, method=method)  # type: ignore[arg-type]  # all it wants is a file
        found.begin()
        return found

    def makefile(self, _mode: str) -> Any:
        file = self.file

        class Kept(io.BufferedIOBase):
            """The same file for the next response."""

            read, readline, readinto = file.read, file.readline, file.readinto

        return Kept()

    def ask(self, path: str, *lines: str, method: str = "GET", **more: Any) -> tuple[int, bytes]:
        self.send(path, *lines, method=method, **more)
        found = self.response(method)
        return found.status, found.read()

    def head(self) -> bytes:
        """The head of a response, as it came."""
        lines = [self.file.readline()]
        while lines[-1] not in (b"\r\n", b""):
            lines.append(self.file.readline())
        return b"".join(lines)

    def read_to_end(self) -> bytes:
        """Everything until the server closes the connection."""
        return self.file.read()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


class Server(Serving):
    """An application behind one of the protocols."""

    def __init__(self, app: App | None = None, **options: Any) -> None:
        self.app = app or App()
        self.clients: list[Client] = []
        super().__init__(self.app, **options)

    def client(self) -> Client:
        self.clients.append(Client(self.port))
        return self.clients[-1]

    @property
    def state(self) -> Any:
        return self._server.server_state

    def stop(self) -> None:
        self._server.should_exit = True

    def __exit__(self, *error: object) -> None:
        self.app.go.set()
        for client in self.clients:
            client.close()
        super().__exit__(*error)
        assert self.state.tasks == set()
        assert self.state.connections == set()
