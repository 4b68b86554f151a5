"""How long it takes to import a library, and until a server has answered for the first time, over bare Python.

And what a server has used by its first call of a tool, and what many tools cost.

The easy thing to get wrong is the first time, when Python compiles: one run goes before those that count. With a
`PYTHONDONTWRITEBYTECODE` in the environment every run would be a first time, so what is started gets none.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from messages import Client, call, check, initialize, messages_of, request
from processes import BenchError, Server, environment, pinned
from results import Figures
from works import ECHO

_TIMES: Final = 5
_REST: Final = 0.02  # seconds until a server that has answered does nothing more


def bare(python: str, core: int, cwd: Path) -> Figures:
    """Return the milliseconds, and those of processor time, that Python takes to do nothing."""
    return _median([_ran([python, "-c", "pass"], core, cwd) for _ in range(_TIMES + 1)][1:])


def imported(python: str, statement: str, core: int, cwd: Path) -> Figures:
    """Return what an import takes longer than nothing."""
    found = [_ran([python, "-c", statement], core, cwd) for _ in range(_TIMES + 1)]
    return _over(found[1:], bare(python, core, cwd))


def first_answer(command: Sequence[str], env: dict[str, str], core: int, cwd: Path) -> Figures:
    """Return what it takes from the start of a process to its first answer, longer than Python doing nothing."""
    found = []
    for _ in range(_TIMES + 1):
        with Server(command, env, {core}, cwd) as server, Client(server.port) as client:
            client.ask(initialize(server.port))
            found.append({"ms": (time.perf_counter() - server.started) * 1e3, "cpu_ms": server.worked() * 1e3})
    return _over(found[1:], bare(sys.executable, core, cwd))


def first_call(command: Sequence[str], env: dict[str, str], core: int, cwd: Path) -> Figures:
    """Return the processor time from the start of a process to its first answered call, and its memory then.

    Nothing is taken off, for it is what a server costs that is started for one call.
    """
    found = []
    for _ in range(_TIMES + 1):
        with Server(command, env, {core}, cwd) as server, Client(server.port) as client:
            session = client.open_session()
            check(ECHO, *client.ask(call(server.port, ECHO, session)))
            time.sleep(_REST)
            found.append({"cpu_ms": server.worked() * 1e3, "pss": server.proportional() / 2**20})
    return _median(found[1:])


def many_tools(command: Sequence[str], env: dict[str, str], core: int, cwd: Path) -> Figures:
    """Return the processor time of registering many tools, serving them, adding one, and listing a first page."""
    found = []
    for _ in range(_TIMES + 1):
        with Server(command, env, {core}, cwd) as server, Client(server.port) as client:
            time.sleep(_REST)
            listening = server.worked() * 1e3
            session = client.open_session()
            time.sleep(_REST)
            before = server.worked()
            client.ask(request(server.port, session, "tools/list", {}))
            time.sleep(_REST)
            listed = (server.worked() - before) * 1e3
            params = {"name": "figures", "arguments": {}}
            answer = messages_of(*client.ask(request(server.port, session, "tools/call", params)))[-1]
            figures = answer["result"]["structuredContent"]
            start = listening - figures.pop("registered_ms")
            found.append({**figures, "start_ms": start, "list_ms": listed})
    return _median(found[1:])


def _ran(command: Sequence[str], core: int, cwd: Path) -> Figures:
    with pinned({core}):
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=environment())
        _, status, used = os.wait4(process.pid, 0)
        passed = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{' '.join(command)} ended with {process.returncode}")
    return {"ms": passed * 1e3, "cpu_ms": (used.ru_utime + used.ru_stime) * 1e3}


def _median(found: list[Figures]) -> Figures:
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def _over(found: list[Figures], nothing: Figures) -> Figures:
    return {name: figure - nothing[name] for name, figure in _median(found).items()}
