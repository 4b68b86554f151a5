"""The matrix: the same tests against every kind of store, with one worker and with several that take turns.

A cell with several workers is the hard one: no two requests of a session in a row meet the same worker. Each
server or cluster has its own store, so none sees what another left behind; those on redis share one Valkey and
differ by prefix. Easy to get wrong: each worker records what left it in its own file, because lines of several
processes in one file would mix.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from support.cluster.server_processes import ProcessCluster
from support.proxy import recording_app
from support.servers.processes import ServerProcess
from support.stores.valkey_server import Valkey

CHOSEN = "ENFILADE_MATRIX"
"""Environment variable: the cells to run, `all` (as it is by default) or names separated by commas."""


@dataclass(frozen=True)
class Cell:
    """One combination.

    Attributes:
        name: for the tests' names.
        store: memory, sqlite or redis.
        workers: how many take turns.
    """

    name: str
    store: str
    workers: int = 1


CELLS = [
    Cell("memory", "memory"),
    Cell("sqlite", "sqlite"),
    Cell("redis", "redis"),
    Cell("sqlite-x4", "sqlite", 4),
    Cell("redis-x4", "redis", 4),
]


def chosen_cells() -> list[Cell]:
    """Return the cells that are to be run."""
    wanted = os.environ.get(CHOSEN) or "all"
    names = [cell.name for cell in CELLS] if wanted == "all" else wanted.split(",")
    unknown = set(names) - {cell.name for cell in CELLS}
    assert not unknown, f"{CHOSEN}: there is no cell {', '.join(sorted(unknown))}"
    return [cell for cell in CELLS if cell.name in names]


class Cells:
    """Serves apps in cells, each with a recorder around every worker, for the length of a `with` block.

    Args:
        folder: where stores and records go.
        env: variables to set for all servers.
    """

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self._folder, self._env = folder, env or {}
        self._stack = ExitStack()
        self._valkey: Valkey | None = None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def serve(self, cell: Cell, file: Path) -> Iterator[str]:
        """Serve a file's app in a cell; yields the URL of its endpoint."""
        self._count += 1
        store, count = self._store(cell.store), self._count
        env = {**self._env, "ENFILADE_STORE": store}

        def command(worker: int) -> list[str]:
            log = self._folder / f"{count}-{cell.name}-{worker}.jsonl"
            return recording_app.command(file, "http", "{port}", log)

        if cell.workers == 1:
            with ServerProcess(command(0), env=env) as server:
                yield server.url
        else:
            with ProcessCluster(cell.workers, command, store, env) as cluster:
                yield cluster.url

    def validate_logs(self) -> int:
        """Check everything that left the servers so far; returns how many messages there were."""
        return recording_app.validate_log(*self._folder.glob("*.jsonl"))

    def _store(self, kind: str) -> str:
        """Return the URL of a store that nobody has used yet."""
        if kind == "sqlite":
            return f"sqlite:///{self._folder / f'{self._count}.db'}"
        if kind == "redis":
            if self._valkey is None:
                self._valkey = self._stack.enter_context(Valkey(self._folder))
            return f"{self._valkey.url}?prefix=cell-{self._count}:"
        return "memory://"
