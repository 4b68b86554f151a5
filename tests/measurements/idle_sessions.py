"""What idle sessions cost: opens a hundred thousand of them at two servers, and looks at memory and store.

    python tests/measurements/idle_sessions.py [sessions]

The easy thing to get wrong is the beginning: each server keeps some thousands of sessions in mind, and that must
be full before the memory is first looked at.
"""

import json
import multiprocessing
import socket
import sqlite3
import sys
import tempfile
from pathlib import Path

import psutil

from enfilade.wire.revisions import LATEST_HANDSHAKE
from support.faults.servers import COMMAND
from support.http_client.connection import BOTH, CLIENT, Http, request_of
from support.servers.processes import HOST, ServerProcess

CLIENTS = 2
WARM = 10_000
CHECKED = 50
"""Sessions of each client that are used once more at the end, at the other server."""


def open_sessions(ports: list[int], count: int) -> list[bytes]:
    """Open sessions over connections that are kept, use each once, and return the ids of some."""
    lines = [socket.create_connection((HOST, port)) for port in ports]
    kept = []
    for number in range(count):
        line = lines[number % 2]
        params = {"protocolVersion": LATEST_HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT}
        head = _exchange(line, request_of("initialize", params, 0, None), b"")
        id = next(field for field in head.split(b"\r\n") if field.lower().startswith(b"mcp-session-id:"))
        _exchange(line, request_of("ping", None, 1, None), id + b"\r\n")
        if number >= count - CHECKED:
            kept.append(id.partition(b":")[2].strip())
    for line in lines:
        line.close()
    return kept


def _exchange(line: socket.socket, message: object, fields: bytes) -> bytes:
    """Send a message, read the whole response, and return its head."""
    body = json.dumps(message).encode()
    head = f"POST /mcp HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\naccept: {BOTH}\r\n"
    line.sendall(head.encode() + b"content-length: %d\r\n" % len(body) + fields + b"\r\n" + body)
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(65536)
    head_, _, rest = data.partition(b"\r\n\r\n")
    assert head_.startswith(b"HTTP/1.1 200"), head_
    fields_ = {name.lower(): value for name, _, value in (each.partition(b":") for each in head_.split(b"\r\n"))}
    while len(rest) < int(fields_[b"content-length"]):
        rest += line.recv(65536)
    return head_


def rows_in(file: Path) -> int:
    """Return how many rows the store has, the servers' own signs of life left out."""
    with sqlite3.connect(file) as connection:
        tables = ("streams", "entries")
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
        (keys,) = connection.execute("SELECT count(*) FROM keys WHERE key NOT LIKE 'worker:%'").fetchone()
    connection.close()
    return sum(counts) + int(keys)


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "idle.db"
        env = {"ENFILADE_STORE": f"sqlite:///{file}"}
        with (
            ServerProcess(COMMAND, env=env) as one,
            ServerProcess(COMMAND, env=env) as other,
            multiprocessing.Pool(CLIENTS) as pool,
        ):
            ports = [one.port, other.port]

            def memory() -> list[float]:
                return [psutil.Process(each.pid).memory_info().rss / 1e6 for each in (one, other)]

            pool.starmap(open_sessions, [(ports, WARM // CLIENTS)] * CLIENTS)
            print(f"after {WARM} sessions: {memory()} MB, {rows_in(file)} rows")
            ids = pool.starmap(open_sessions, [(ports, count // CLIENTS)] * CLIENTS)
            print(f"after {WARM + count} sessions: {memory()} MB, {rows_in(file)} rows")
            for number, id in enumerate(id for some in ids for id in some):
                http = Http(ports[number % 2 - 1])
                fields = {"mcp_session_id": id.decode(), "mcp_protocol_version": LATEST_HANDSHAKE}
                assert http.post(request_of("ping", None, 1, None), **fields).status == 200
            print("and all that were tried still serve, at the other server too")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
