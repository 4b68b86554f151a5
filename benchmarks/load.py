"""Calls under load: how many a second, how much processor time of the server each, and how long they take.

The easy thing to get wrong is to count errors as calls. A server's answer is compared whole before the load,
and a slice of load in which anything was refused, broken or shorter than that answer makes the row invalid.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from authorization import FORGED, TOKEN
from messages import ID, SESSION_MARK, Client, call, check, check_refused, initialize, initialized
from processes import HOST, BenchError, Server
from results import Figures
from works import SESSION, Work

SCRIPT: Final = Path(__file__).with_name("load.lua")
_WARMING: Final = 0.3  # seconds of calls before the load
_THREADS: Final = 4  # of the load at most, each with a session of its own; more would wait for each other


class Load:
    """The load that one row puts on one server, slice by slice.

    Args:
        server: where to.
        work: what to ask for.
    """

    def __init__(self, server: Server, work: Work) -> None:
        self._server = server
        self._work = work
        self._slices: list[Figures] = []
        self._least = 0  # bytes that an answer has at least
        self._requests: list[bytes] = []

    def prepare(self) -> None:
        """Check the server's answer, open the sessions, and let the server warm up.

        Raises:
            BenchError: the answer is wrong.
        """
        port, work = self._server.port, self._work
        token = TOKEN if work.authorized else None
        with Client(port, token) as client:
            if work.handshake:
                client.open_session()
                self._requests = [initialize(port), initialized(port, SESSION_MARK)]
                return
            in_session = work.era == SESSION
            sessions = [client.open_session() if in_session else None for _ in range(_threads(work))]
            self._requests = [call(port, work, session, token) for session in sessions]
            end = time.monotonic() + _WARMING
            response, body = client.ask(self._requests[0])
            while time.monotonic() < end:
                client.ask(self._requests[-1])
            check(work, response, body)
            self._least = len(body)
        if work.authorized:  # the good token is remembered by now, and must let no other one in
            for refused in (FORGED, None):
                check_refused(port, work, sessions[0], refused)

    def run(self, seconds: int) -> float:
        """Put load on the server for a whole number of seconds, and return the number of calls it has answered.

        Raises:
            BenchError: an answer was an error, or shorter than it should be.
        """
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"\x1e".join(self._requests))
            file.flush()
            before = self._server.worked()
            found = _wrk(self._server.port, self._work, Path(file.name), seconds)
            worked = self._server.worked() - before
        if found["refused"] or found["broken"] or not found["requests"]:
            raise BenchError(
                f"of {found['requests']:.0f} answers {found['refused']:.0f} were errors, and "
                f"{found['broken']:.0f} connections broke\nThe server's log ends:\n{self._server.log()[-1000:]}"
            )
        if found["bytes"] < found["requests"] * self._least:
            raise BenchError("under load, answers were shorter than the one that had been checked")
        calls = found["requests"] / (2 if self._work.handshake else 1)
        self._slices.append({**found, "calls": calls, "worked": worked})
        return calls

    def figures(self) -> Figures:
        """Return what all slices together say: calls a second, µs of processor time a call, latencies in ms."""

        def total(name: str) -> float:
            return sum(each[name] for each in self._slices)

        def middle(name: str) -> float:
            return sorted(each[name] for each in self._slices)[len(self._slices) // 2]

        return {
            "rate": total("calls") / total("seconds"),
            "cpu": total("worked") / total("calls") * 1e6,
            "p50": middle("p50"),
            "p99": middle("p99"),
        }


def find_wrk() -> str:
    """Return the path of wrk.

    Raises:
        BenchError: it is not installed.
    """
    found = shutil.which("wrk")
    if found is None:
        raise BenchError("wrk is missing: it is a package of Debian and Ubuntu (apt-get install wrk)")
    return found


def _wrk(port: int, work: Work, requests: Path, seconds: int) -> Figures:
    command = [find_wrk(), f"-t{_threads(work)}", f"-c{work.connections}", f"-d{seconds}s", "--timeout", "20s"]
    command += ["-s", str(SCRIPT)]
    command += [f"http://{HOST}:{port}/mcp", "--", str(requests), str(ID)]
    if work.handshake:
        command.append(SESSION_MARK)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 30, check=False, preexec_fn=_give_way
    )
    found = re.search(r"^FOUND (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        raise BenchError(f"wrk failed: {done.stdout}{done.stderr}")
    figures: Figures = json.loads(found[1])
    return figures


def _threads(work: Work) -> int:
    return 1 if work.handshake else min(work.connections, _THREADS)


def _give_way() -> None:
    """Let the load take no core from a server in the middle of its work, where they share one.

    Each answer wakes the load. It would then run at once, and the server, which has more to answer, would wait
    and find its caches cold: what is counted as the server's time would be the load's doing.
    """
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
