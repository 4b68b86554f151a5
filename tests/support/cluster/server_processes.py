"""Several servers that share a store, each a process of its own, behind a proxy that lets them take turns.

    with ProcessCluster(4, [sys.executable, "server.py", "--port", "{port}"], store) as cluster:
        cluster.kill(2)

Each is started, killed, stopped and restarted by its index, which is also its index in the proxy. Easy to get
wrong: a server that is restarted has its old port, so the proxy finds it again without being told.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self

from support.http_client.connection import Http
from support.proxy.round_robin_proxy import RoundRobinProxy
from support.servers.processes import ServerProcess, free_port


class ProcessCluster:
    """The servers and the proxy, for the length of a `with` block.

    Args:
        count: how many servers.
        command: how each is started, or a function of its index that says so; `{port}` stands for its port.
        store: URL of the store that they share.
        env: variables to set for all of them, or a function of the cluster's URL that says so.

    Attributes:
        servers: the processes.
        proxy: what stands before them, and its log.
        url: of the endpoint, by way of the proxy.
    """

    def __init__(
        self,
        count: int,
        command: Sequence[str] | Callable[[int], Sequence[str]],
        store: str,
        env: Mapping[str, str] | Callable[[str], Mapping[str, str]] | None = None,
    ) -> None:
        words = command if callable(command) else lambda _: command
        ports = [free_port() for _ in range(count)]
        self.proxy = RoundRobinProxy(ports)
        settings = {"ENFILADE_STORE": store, **((env(self.proxy.url) if callable(env) else env) or {})}
        self.servers = [
            ServerProcess(words(index), port=port, env=settings, start_timeout=90.0)
            for index, port in enumerate(ports)
        ]
        self.url = self.proxy.url
        self._running: set[int] = set()

    @property
    def port(self) -> int:
        """The port of the proxy."""
        return self.proxy.port

    @property
    def http(self) -> Http:
        """A way to talk to all of them."""
        return Http(self.port)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._stop_all)
            self.start(*range(len(self.servers)))
            stack.enter_context(self.proxy)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, *indexes: int) -> None:
        """Start servers side by side, and wait until all of them listen."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(self._start, indexes))

    def kill(self, index: int) -> None:
        """End a server without a word, as a crash would."""
        self._running.discard(index)
        self.servers[index].kill()

    def stop(self, *indexes: int, timeout: float = 20.0) -> list[int]:
        """Ask servers to end, side by side; returns their exit codes."""
        self._running.difference_update(indexes)
        with ThreadPoolExecutor() as threads:
            return list(threads.map(lambda index: self.servers[index].stop(timeout), indexes))

    def restart(self, *indexes: int) -> None:
        """Stop servers, all at once, and start them again where they were."""
        self.stop(*indexes)
        self.start(*indexes)

    @property
    def running(self) -> list[int]:
        """The indexes of the servers that were not stopped or killed."""
        return sorted(self._running)

    def pids(self, indexes: Iterable[int] | None = None) -> list[int]:
        return [self.servers[index].pid for index in (self.running if indexes is None else indexes)]

    def output(self) -> str:
        """What all of them have printed so far."""
        return "\n".join(f"-- {index}\n{server.output}" for index, server in enumerate(self.servers))

    def _start(self, index: int) -> None:
        self.servers[index].__enter__()
        self._running.add(index)

    def _stop_all(self) -> None:
        self.stop(*self.running, timeout=5.0)
