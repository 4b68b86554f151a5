"""Rounds: in each, every group is measured once, by fresh processes, and its servers take turns by the second.

Turns are what makes a ratio worth something: a machine whose other tenants come and go is the same to all. The
easy thing to get wrong is the order: whoever comes after the same neighbour each time inherits its warm or cold
caches, so every round starts at another server.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import ClassVar, Final

from authorization import variables
from changing import changing
from environments import BENCH
from idle import idle
from load import Load
from processes import BenchError, Server
from results import Figures, Results
from rows import Row
from starting import first_answer, first_call, imported, many_tools

_SQLITE: Final = "{sqlite}"
_REDIS: Final = "{redis}"
_COLLECTOR: Final = "{collector}"
#: Seconds of load that rows get at least whose calls take long: what is under way at the end counts for nothing.
_LONG: Final = 3
_WORKERS_START: Final = 3.0  # seconds until all of several workers serve


class Rounds:
    """Measures rows, and keeps what was found in `results`.

    Args:
        rows: what to measure.
        seconds: how long a row is under load in each round.
        server_core: where servers run.
        load_core: where the load comes from.
        redis: the URL of a Redis server, if there is one.
        collector: the URL of what takes traces.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        seconds: int,
        server_core: int,
        load_core: int,
        redis: str | None,
        collector: str,
    ) -> None:
        self._rows = rows
        self._seconds = seconds
        self._core, self._both = server_core, {server_core, load_core}
        self._redis = redis
        self._folder = tempfile.TemporaryDirectory(dir=BENCH)
        database = f"sqlite:///{Path(self._folder.name) / 'state.db'}"
        self._services = {_SQLITE: database, _REDIS: redis or "", _COLLECTOR: collector}
        self.results = Results()

    def run(self, number: int) -> None:
        """Measure every row once, in the round of this number."""
        for group, rows in groupby(self._rows, key=lambda row: row.group):
            members = [row for row in rows if row.name not in self.results.problems]
            start = number % len(members) if members else 0
            members = members[start:] + members[:start]
            if group in self._ALONE:
                for row in members:
                    with self._counting(row):
                        self._found(number, row, self._ALONE[group](self, row))
            else:
                self._by_turns(number, members)

    def _by_turns(self, number: int, rows: Sequence[Row]) -> None:
        """Put load on the servers of a group, which all live meanwhile, for a second at a time."""
        with contextlib.ExitStack() as stack:
            loads: list[tuple[Row, Load]] = []
            for row in rows:
                assert row.work is not None
                with self._counting(row):
                    load = Load(stack.enter_context(self._server(row)), row.work)
                    if row.both_cores:
                        time.sleep(_WORKERS_START)
                    load.prepare()
                    loads.append((row, load))
            is_long = any(row.work and row.work.long for row in rows)
            seconds = max(self._seconds, _LONG) if is_long else self._seconds
            turn = seconds if is_long else 1
            for _ in range(0, seconds, turn):
                for row, load in loads:
                    if row.name not in self.results.problems:
                        with self._counting(row):
                            load.run(turn)
            for row, load in loads:
                if row.name not in self.results.problems:
                    self._found(number, row, load.figures())

    def _idle(self, row: Row) -> Figures:
        with self._server(row) as server:
            return idle(server, self._seconds)

    def _change(self, row: Row) -> Figures:
        assert row.work is not None
        with self._server(row) as server:
            return changing(server, row.work, self._seconds)

    def _import(self, row: Row) -> Figures:
        return imported(row.command[0], row.statement, self._core, BENCH)

    def _start(self, row: Row) -> Figures:
        return first_answer(row.command, row.env, self._core, BENCH)

    def _first_call(self, row: Row) -> Figures:
        return first_call(row.command, row.env, self._core, BENCH)

    def _many(self, row: Row) -> Figures:
        return many_tools(row.command, row.env, self._core, BENCH)

    #: What is measured of one server after the other.
    _ALONE: ClassVar[dict[str, Callable[["Rounds", Row], Figures]]] = {
        "change": _change,
        "idle": _idle,
        "import": _import,
        "start": _start,
        "first-call": _first_call,
        "many": _many,
    }

    def _server(self, row: Row) -> Server:
        env = dict(row.env)
        for placeholder, url in self._services.items():
            env = {name: value.replace(placeholder, url) for name, value in env.items()}
        if row.work is not None and row.work.authorized:
            env |= variables()
        cores = self._both if row.both_cores else {self._core}
        return Server(row.command, env, cores, row.folder or BENCH)

    @contextlib.contextmanager
    def _counting(self, row: Row) -> Iterator[None]:
        """Let a row that fails not count, and the others go on."""
        try:
            if row.redis and self._redis is None:
                raise BenchError("there is no Redis or Valkey server")
            yield
        except BenchError as problem:
            self.results.fail(row.name, str(problem))
            print(f"  {row.name}: INVALID: {problem}", file=sys.stderr, flush=True)

    def _found(self, number: int, row: Row, figures: Figures) -> None:
        self.results.add(row.name, number, figures)
        shown = ", ".join(f"{name} {figure:,.1f}" for name, figure in figures.items())
        print(f"  {row.name}: {shown}", file=sys.stderr, flush=True)
