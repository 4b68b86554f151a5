"""Large bodies of known length, which are taken without the parser, and the memory that large messages reuse.

Easy to get wrong: what comes behind such a body in the same bytes. It is parsed as behind any other.
"""

import asyncio
import contextlib
import platform
import socket
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from enfilade.transports.http11.protocol import HttpProtocol
from support.harness import eventually
from support.http_client.connection import Http
from support.http_client.protocol_driver import Driver, Verdict
from support.http_client.raw_http import Server, request
from support.servers.limited_server import Limited
from support.servers.processes import ServerProcess, enfilade_command, environment

LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]
BODY = bytes(range(256)) * 800
NEXT = request("/next")
UPGRADE = request("/up", "Upgrade: websocket", "Connection: upgrade", method="POST", body=b"ab")
READ = 256_000  # bytes that an event loop reads at once


@pytest.fixture(params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(http=HttpProtocol, loop=request.param) as server:
        yield server


def judge(segments: Sequence[bytes], *, is_direct: bool) -> Verdict:
    return asyncio.run(Driver(HttpProtocol, is_direct=is_direct).judge(segments))


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize("is_direct", [True, False], ids=["direct", "asgi"])
class TestWhatFollows:
    @pytest.mark.parametrize(
        ("behind", "statuses", "lives"),
        [
            (b"", (200,), True),
            (NEXT, (200, 200), True),
            (NEXT * 3, (200,) * 4, True),
            (UPGRADE + NEXT, (200, 200, 200), True),
            (request("/again", method="POST", body=BODY) + NEXT, (200, 200, 200), True),
            (b"\0 no request", (200, 400), False),
            (request("/", version="2.0"), (200, 505), False),
        ],
        ids=["nothing", "one", "three", "an-upgrade", "a-large-one", "garbage", "another-version"],
    )
    @pytest.mark.parametrize("step", [100, 8192, 70_001, 10**6], ids=lambda step: f"by-{step}")
    def test_it_is_parsed(
        self, behind: bytes, statuses: tuple[int, ...], lives: bool, step: int, is_direct: bool
    ) -> None:
        data = request("/first", method="POST", body=BODY) + behind
        near_the_end = len(data) - len(behind) - 7
        found = judge(
            [*cut(data[:near_the_end], range(step, near_the_end, max(step, 3000))), data[near_the_end:]],
            is_direct=is_direct,
        )
        assert (found.statuses, found.lives) == (statuses, lives)
        assert found.served[0] == b"POST /first " + BODY

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(places=st.lists(st.integers(1, len(BODY) * 2), max_size=12))
    def test_it_does_not_matter_how_it_comes(self, places: list[int], is_direct: bool) -> None:
        data = request("/a", method="POST", body=BODY) + UPGRADE + request("/b", method="POST", body=BODY) + NEXT
        found = judge(cut(data, places), is_direct=is_direct)
        assert found.statuses == (200,) * 4
        assert found.served[::2] == (b"POST /a " + BODY, b"POST /b " + BODY)

    def test_nothing_does_where_the_connection_closes(self, is_direct: bool) -> None:
        data = request("/a", "Connection: close", method="POST", body=BODY)
        found = judge(cut(data + NEXT, [5000, 90_000]), is_direct=is_direct)
        assert (found.statuses[0], found.served, found.lives) == (200, (b"POST /a " + BODY,), False)

    def test_chunks_are_parsed(self, is_direct: bool) -> None:
        head = request("/a", "Transfer-Encoding: chunked", method="POST")
        data = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) + NEXT
        assert judge(cut(data, [3000, 90_000]), is_direct=is_direct).statuses == (200, 200)


class TestOnAConnection:
    def test_bodies_come_and_go(self, server: Server) -> None:
        client = server.client()
        for size in (1, 65_000, 300_000, 3_000_000):
            body = (BODY * 20)[:size]
            assert client.ask("/echo", method="POST", body=body) == (200, body)

    def test_a_client_that_leaves_midway_is_noticed(self) -> None:
        with Limited("auto") as server:
            client = server.client()
            client.socket.sendall(request("/record", method="POST", body=BODY)[:-1])
            eventually(lambda: server.slow_app.received[-1:] == [("http.request", True)])
            client.socket.shutdown(socket.SHUT_RDWR)
            client.socket.close()
            eventually(lambda: server.slow_app.received[-1:] == [("http.disconnect", False)])
            eventually(lambda: server.connections() == 0)

    def test_a_body_that_stops_times_out(self) -> None:
        with Limited("auto", body_timeout=0.2) as server:
            client = server.client()
            client.socket.sendall(request("/record", method="POST", body=BODY)[:-1])
            assert client.response().status == 408

    def test_it_waits_until_it_is_asked_for(self) -> None:
        """A client makes the server hold little, whatever length it has announced."""
        with Limited("auto") as server:
            client = server.client()
            size = 50 * READ
            client.socket.sendall(request("/reads_late", f"Content-Length: {size}", method="POST"))
            client.socket.setblocking(False)
            eventually(lambda: server.slow_app.seen == ["/reads_late"])
            connection = next(iter(server.state.connections))

            def is_paused_by_more() -> bool:
                with contextlib.suppress(BlockingIOError):
                    client.socket.send(b"x" * 8192)
                return bool(connection.flow.read_paused)

            eventually(is_paused_by_more)
            assert HIGH_WATER_LIMIT < connection.cycle.unread <= HIGH_WATER_LIMIT + READ

    def test_one_that_is_refused_closes_the_connection(self) -> None:
        with Limited("auto", discard_limit=1000) as server:
            client = server.client()
            data = request("/refuses", method="POST", body=BODY)
            client.socket.sendall(data[:-5000])
            response = client.response()
            assert (response.status, response.read()) == (413, b"too large")
            assert response.headers["connection"] == "close"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about the malloc of glibc")
def test_large_messages_reuse_memory(tmp_path: Path) -> None:
    """A page of new memory costs a fault, and there are 256 in a MiB, which is in memory several times."""
    file = tmp_path / "server.py"
    file.write_text(
        "from enfilade import MCPApp\n\napp = MCPApp('large')\n\n\n"
        "@app.tool\nasync def echo(text: str) -> str:\n    return text\n"
    )
    command = enfilade_command("run", str(file), "--transport", "http", "--port", "{port}")

    def faults(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])

    with ServerProcess(command, env=environment()) as process:
        client = Http(process.port)
        text, calls = "x" * 1_048_576, 20

        def load() -> None:
            for _ in range(calls):
                assert client.modern_call("echo", text=text).result["content"][0]["text"] == text

        load()
        before = faults(process.pid)
        load()
        assert faults(process.pid) - before < 100 * calls
