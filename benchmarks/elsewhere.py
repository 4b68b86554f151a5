"""What becomes of a session when another process of the same server gets its next request.

    python benchmarks/elsewhere.py

A session is opened at one process and used at a second, as happens behind a load balancer, and at a third that is
started when both have ended, as happens after a deployment. Each server is set up as the benchmark sets it up;
Enfilade once by default and once with a store that its processes share. Easy to get wrong: an error of another
kind must not pass for a lost session, so the first process has to answer the same request well.
"""

import http.client
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import works
from environments import BENCH, install_peers
from messages import Client, call, check
from processes import BenchError, Server, cores
from rows import ROWS, Row

#: What is asked, and of which row of the benchmark.
_ASKED: Final = {
    "Enfilade": "calls/enfilade",
    "Enfilade, with a store": "calls/enfilade",
    "official SDK": "calls/sdk-json",
    "FastMCP": "calls/fastmcp-json",
}


def answered(port: int, session: str) -> str:
    """Call a tool in a session, and return "served" or what was said instead."""
    with Client(port) as client:
        try:
            response, body = client.ask(call(port, works.ECHO, session))
            check(works.ECHO, response, body)
        except BenchError as error:
            return str(error).split(":", 1)[0]
    return "served"


def fate(row: Row, env: Mapping[str, str], core: int) -> tuple[str, str]:
    """Return what a second process says to a session, and what one that is started afterwards says.

    Raises:
        BenchError: the first process does not serve it.
    """

    def server() -> Server:
        return Server(row.command, {**row.env, **env}, {core}, BENCH)

    with server() as first:
        with Client(first.port) as client:
            session = client.open_session()
        if (said := answered(first.port, session)) != "served":
            raise BenchError(f"the process that opened the session {said}")
        with server() as second:
            beside = answered(second.port, session)
    with server() as third:
        return beside, answered(third.port, session)


def main() -> int:
    """Print a table, and return the exit code: 1 if Enfilade loses a session that it should not."""
    install_peers()
    core, _ = cores()
    rows = {row.name: row for row in ROWS}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for who, name in _ASKED.items():
            store = f"sqlite:///{Path(folder) / 'state.db'}"
            env = {"ENFILADE_STORE": store} if "store" in who else {}
            found[who] = fate(rows[name], env, core)
    width = max(map(len, found))
    print(f"{'':{width}}  another process   after a restart")
    for who, (beside, after) in found.items():
        print(f"{who:{width}}  {beside:16}  {after}")
    return 0 if set(found["Enfilade, with a store"]) == {"served"} else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, OSError, http.client.HTTPException) as problem:
        sys.exit(f"elsewhere: {problem}")
