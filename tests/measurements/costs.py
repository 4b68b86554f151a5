"""What a store costs: plain calls with and without, and streams that can be resumed against streams that cannot.

    python tests/measurements/costs.py [rounds]

Prints medians over interleaved rounds. The easy thing to get wrong is the machine: whatever else it does shows in
the time that passes, so the processor time of the server is what to compare, and one round is no result.
"""

import http.client
import json
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from support.faults.servers import SCRIPT
from support.http_client.connection import BOTH, Http, HttpSession, request_of
from support.servers.processes import HOST, ServerProcess, python_command
from support.stores.valkey_server import Valkey

CALLS, EVENTS, STREAMS = 1000, 1000, 20

Figures = dict[str, list[tuple[float, float]]]


class Variant:
    """A server, and one session that is in use there."""

    def __init__(self, name: str, server: ServerProcess) -> None:
        self.name, self._server = name, server
        self._process = psutil.Process(server.pid)
        self._session: HttpSession = Http(server.port).initialize()

    def measured(self, work: Callable[[], None], times: int) -> tuple[float, float]:
        """Return the milliseconds that passed, and those for which the server worked, for each of so many."""
        before, began = self._worked(), time.perf_counter()
        work()
        passed = time.perf_counter() - began
        return 1000 * passed / times, 1000 * (self._worked() - before) / times

    def _worked(self) -> float:
        tasks = Path(f"/proc/{self._process.pid}/task")
        if tasks.is_dir():  # in nanoseconds, where others count in hundredths of a second
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9
        used = self._process.cpu_times()
        return used.user + used.system

    def calls(self) -> None:
        """Call a tool again and again, over one connection."""
        connection = http.client.HTTPConnection(HOST, self._server.port, timeout=60)
        body, headers = self._request("echo", text="x")
        for _ in range(CALLS):
            connection.request("POST", "/mcp", body, headers)
            assert b'"x"' in connection.getresponse().read()
        connection.close()

    def streams(self, pause: float | None) -> None:
        """Let it say a thousand things, again and again."""
        tool = {"n": EVENTS} if pause is None else {"n": EVENTS, "pause": pause}
        for _ in range(STREAMS):
            body, headers = self._request("count" if pause is not None else "burst", **tool)
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            with socket.create_connection((HOST, self._server.port)) as line:
                request = f"POST /mcp HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{head}"
                line.sendall(f"{request}content-length: {len(body)}\r\n\r\n{body}".encode())
                said = b"".join(iter(lambda: line.recv(1 << 20), b""))
            assert len(re.findall(rb"^data: \{", said, re.MULTILINE)) == EVENTS + 1

    def _request(self, tool: str, **arguments: Any) -> tuple[str, dict[str, str]]:
        message = request_of("tools/call", {"name": tool, "arguments": arguments}, 1, None)
        headers = {"mcp-session-id": self._session.token, "mcp-protocol-version": self._session.revision}
        return json.dumps(message), {"content-type": "application/json", "accept": BOTH, **headers}


def settings(folder: Path, valkey: Valkey) -> Mapping[str, dict[str, str]]:
    """Return the variants, by name."""
    return {
        "memory, not resumable": {"ENFILADE_RESUMABLE": "false"},
        "memory": {},
        "sqlite": {"ENFILADE_STORE": f"sqlite:///{folder / 'costs.db'}"},
        "redis": {"ENFILADE_STORE": valkey.url},
    }


def report(what: str, figures: Figures, unit: str) -> None:
    """Print a table."""
    print(f"\n{what}\n{'':24}{unit:>12}{'server CPU':>12}{'time':>8}{'CPU':>8}")
    first = None
    for name, found in figures.items():
        passed, worked = (statistics.median(each[index] for each in found) for index in (0, 1))
        first = first or (passed, worked)
        print(f"{name:24}{passed:12.3f}{worked:12.3f}{passed / first[0]:8.2f}{worked / first[1]:8.2f}")


def main(rounds: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey = stack.enter_context(Valkey(folder))
        variants = []
        for name, env in settings(folder, valkey).items():
            server = ServerProcess(python_command(SCRIPT, "{port}"), env=env)
            variants.append(Variant(name, stack.enter_context(server)))
        work: dict[str, tuple[Callable[[Variant], None], int]] = {
            f"{CALLS} plain calls, one at a time": (Variant.calls, CALLS),
            f"a stream of {EVENTS} events, each awaited": (lambda each: each.streams(0.0), STREAMS),
            f"a stream of {EVENTS} events, all at once": (lambda each: each.streams(None), STREAMS),
        }
        for what, (job, times) in work.items():
            figures: Figures = {each.name: [] for each in variants}
            for round in range(rounds + 1):
                for each in variants:
                    found = each.measured(lambda: job(each), times)
                    if round:  # the first is for warming up
                        figures[each.name].append(found)
            report(what, figures, "ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
