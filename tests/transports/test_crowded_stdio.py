"""stdio while nobody reads what is written: a flood of lines, good or bad, waits where it came from.

Easy to get wrong: a flood that ends before it is one. The pipe is written to until it takes nothing more for a
second, which it can only do once the server has stopped reading.
"""

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from enfilade.transports import stdio
from support.harness import PROBE_SERVER

KIB, MIB = 1024, 1024 * 1024
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(PROBE_SERVER), "stdio"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def flooded(process: subprocess.Popen[bytes], line: bytes, most: int) -> int:
    """Send a line over and over until the server takes no more, or `most` bytes; return how many it took."""
    assert process.stdin is not None
    end = process.stdin.fileno()
    os.set_blocking(end, False)
    sent, chunk = 0, line * (64 * KIB // len(line))
    while sent < most and select.select([], [end], [], 0.8)[1]:
        at = sent % len(line)
        sent += os.write(end, chunk[at:])
    os.set_blocking(end, True)
    return sent


@pytest.mark.skipif(sys.platform == "win32", reason="select() is for sockets there")
@pytest.mark.parametrize("line", [b"x\n", b"[]\n", PING], ids=["junk", "batch", "ping"])
def test_what_is_not_read_takes_no_memory(server: subprocess.Popen[bytes], line: bytes) -> None:
    """R-714: no more lines are taken, none is lost, and each that was taken is answered."""
    assert server.stdin is not None
    assert server.stdout is not None
    os.write(server.stdin.fileno(), PING)
    assert b'"result":{}' in server.stdout.readline()
    of = psutil.Process(server.pid)
    before = of.memory_info().rss
    sent = flooded(server, line, 8 * MIB)
    assert sent < 2 * MIB
    assert of.memory_info().rss - before < 40 * MIB
    rest = b"x\n" if sent % len(line) else b""  # the last line is whole, good or bad
    last = b'{"jsonrpc":"2.0","id":"last","method":"ping"}\n'
    threading.Thread(target=os.write, args=(server.stdin.fileno(), rest + last), daemon=True).start()
    count = 0
    while b'"last"' not in server.stdout.readline():
        count += 1
    assert count == -(-sent // len(line))


def test_it_can_be_stopped_meanwhile(server: subprocess.Popen[bytes]) -> None:
    """In time: not by force, which would be another exit code."""
    assert server.stdin is not None
    assert server.stdout is not None
    os.write(server.stdin.fileno(), PING)
    server.stdout.readline()
    flooded(server, b"x\n", 8 * MIB)
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0


@pytest.mark.anyio
async def test_a_chunk_of_many_lines_is_handed_on_bit_by_bit() -> None:
    """While the loop is busy only a few thousand lines wait for it; in the end it has all, in order."""
    reading, writing = os.pipe()
    gate, ended, over = threading.Event(), threading.Event(), threading.Event()
    gate.set()
    taken: list[bytes | None] = []
    most = [0]

    def take(lines: list[bytes | None]) -> None:
        taken.extend(lines)
        most[0] = max(most[0], len(lines))

    numbers = [b"%d" % number for number in range(20_000)]

    def write() -> None:
        with open(writing, "wb") as file:
            file.write(b"\n".join(numbers) + b"\n")
            file.flush()
            over.wait(30)

    threading.Thread(target=write, daemon=True).start()
    reader = stdio.Reader(reading, 1000, gate, take, ended.set)
    time.sleep(0.5)  # in the loop, which takes nothing meanwhile
    assert reader._handed <= stdio.MOST_WAITING
    assert not ended.is_set()
    async with asyncio.timeout(30):
        while not taken:
            await asyncio.sleep(0)
        gate.clear()  # the client does not read
        held = -1
        while held != len(taken):
            held = len(taken)
            await asyncio.sleep(0.6)
        assert held < len(numbers)
        gate.set()
        over.set()
        while not ended.is_set():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
    assert taken == numbers
    assert most[0] <= stdio.LINES_AT_ONCE
    os.close(reading)
