"""What metrics cost a plain call: processor time of servers with and without them, and the log of requests.

    PYTHONPATH=tests python tests/measurements/metrics_cost.py [rounds]

Prints medians over interleaved rounds, in microseconds of the server for a call; `shared` is a server whose
metrics are in files, as those of several workers are. The easy thing to get wrong is one round: a machine that
does something else meanwhile shows in it.
"""

import json
import socket
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from support.http_client.connection import modern_headers, request_of, stateless_meta
from support.servers.processes import HOST, ServerProcess, python_command

CALLS = 3000


class Variant:
    """A server, and a connection to it."""

    def __init__(self, server: ServerProcess) -> None:
        self._process = psutil.Process(server.pid)
        self._socket = socket.create_connection((HOST, server.port))
        message = request_of("tools/call", {"name": "echo", "arguments": {"text": "x"}}, 1, stateless_meta())
        self._request = _encoded(message)

    def measured(self) -> float:
        """Return the microseconds for which the server worked, for each of many calls."""
        before = self._worked()
        for _ in range(CALLS):
            self._socket.sendall(self._request)
            answer = self._socket.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer
        return (self._worked() - before) / CALLS * 1e6

    def _worked(self) -> float:
        """Return the seconds for which the server has worked; on Linux, in nanoseconds."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        if tasks.is_dir():
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9
        used = self._process.cpu_times()
        return used.user + used.system


def _encoded(message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    fields = {"host": HOST, "content-type": "application/json", "accept": "application/json, text/event-stream"}
    fields |= {name.replace("_", "-"): str(value) for name, value in modern_headers(message).items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /mcp HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    """Print the medians."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    quiet, on = {"ENFILADE_LOG_LEVEL": "warning"}, {"ENFILADE_METRICS": "true"}
    json_log = {"ENFILADE_LOG_FORMAT": "json"}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        shared = {"PROMETHEUS_MULTIPROC_DIR": folder}
        kinds = {
            "off": quiet,
            "metrics": {**quiet, **on},
            "metrics, shared": {**quiet, **on, **shared},
            "log": json_log,
            "log, metrics": {**json_log, **on},
            "log, metrics, shared": {**json_log, **on, **shared},
        }
        command = python_command("tests/measurements/metrics_cost_server.py", "{port}")
        variants = {
            name: Variant(stack.enter_context(ServerProcess(command, env=variables)))
            for name, variables in kinds.items()
        }
        for variant in variants.values():
            variant.measured()
        figures: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(rounds):
            for name, variant in variants.items():
                figures[name].append(variant.measured())
    for name, values in figures.items():
        print(f"{name:22} {statistics.median(values):7.1f} µs   best {min(values):7.1f} µs")


if __name__ == "__main__":
    main()
