"""What slow clients cost a server, in memory, until a limit ends them: the figures of docs/reliability.md.

Run it with `tests` on the `PYTHONPATH`; it takes half a minute. Easy to get wrong: what a first request loads is
no cost of slow clients, so one of each kind comes and goes before anything is measured.
"""

import contextlib
import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from support.http_client.connection import Http, modern_headers, stateless_meta
from support.servers.processes import ServerProcess, python_command

COMMAND: Final = python_command("tests/support/faults/slow_client_server.py", "{port}")
MB: Final = 1024 * 1024

TIMEOUT: Final = "4"
SETTINGS: Final = {
    **{f"ENFILADE_{name}_TIMEOUT": TIMEOUT for name in ("HEADER", "BODY", "IDLE", "WRITE")},
    "MALLOC_MMAP_THRESHOLD_": "131072",  # glibc raises it, and then keeps large blocks for later
}


def call(tool: str, length: int | None = None) -> bytes:
    params = {"name": tool, "arguments": {"text": "x"} if tool == "echo" else {}, "_meta": stateless_meta()}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    body = json.dumps(message).encode()
    headers = {**modern_headers(message), "accept": "application/json", "content-type": "application/json"}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    size = len(body) if length is None else length
    return f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n{lines}\r\n".encode() + body


HEAD: Final = call("echo")[:60]
BODY: Final = call("echo", 4 * MB)
KINDS: Final[dict[str, tuple[int, bytes]]] = {
    "half a head": (500, HEAD),
    "idle after a response": (500, call("echo")),
    "a body of which 1 MB came": (50, BODY + b" " * MB),
    "a response of 16 MB, unread": (5, call("large")),
}


def connected(port: int, data: bytes) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.connect(("127.0.0.1", port))
    connection.settimeout(10)
    with contextlib.suppress(OSError):
        connection.sendall(data)
    return connection


def settled(look: Callable[[], int]) -> int:
    """Return what is looked at once it does not change any more."""
    before, now = -1, look()
    while before != now:
        time.sleep(0.3)
        before, now = now, look()
    return now


def measure(kind: str, count: int, data: bytes) -> None:
    with ServerProcess(COMMAND, env={**SETTINGS, "ENFILADE_MAX_CONNECTIONS": "700"}) as server:
        process = psutil.Process(server.pid)
        Http(server.port).modern_call("echo", text="x")
        connected(server.port, data).close()
        time.sleep(1)
        before = process.memory_info().rss
        clients = [connected(server.port, data) for _ in range(count)]
        settled(lambda: len(process.net_connections("tcp")))
        held = process.memory_info().rss
        started = time.monotonic()
        while len(process.net_connections("tcp")) > 2 and time.monotonic() < started + 60:
            time.sleep(0.05)
        took = time.monotonic() - started
        time.sleep(1)
        after = process.memory_info().rss
        for client in clients:
            client.close()
    each = (held - before) / count / 1024
    print(
        f"| {count} × {kind} | {before / MB:.1f} MB | {held / MB:.1f} MB | {each:,.1f} KB | {took:.1f} s "
        f"| {after / MB:.1f} MB |"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    print(f"limits: {TIMEOUT} s each; {Path(COMMAND[1]).name}")
    for kind, (count, data) in KINDS.items():
        measure(kind, count, data)
