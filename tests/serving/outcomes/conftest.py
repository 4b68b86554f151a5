"""Stores that several workers share, and servers with several workers in this process."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from enfilade import MCPApp
from enfilade.serving.dispatcher import Dispatcher
from support.stores.valkey_server import Valkey

_numbers = itertools.count(1)

WORKERS = 4


@pytest.fixture(scope="session")
def valkey_of_outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture(params=["memory", "sqlite", "valkey"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store of each kind, which is empty."""
    return _empty(request.param, request, tmp_path)


@pytest.fixture(params=["sqlite", "valkey"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store of each kind that several workers share, which is empty."""
    return _empty(request.param, request, tmp_path)


def _empty(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if kind == "memory":
        return "memory://"
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    valkey: Valkey = request.getfixturevalue("valkey_of_outcomes")
    return f"{valkey.url}?prefix=outcomes{next(_numbers)}:"


Start = Callable[[Callable[[MCPApp], None]], "contextlib.AbstractAsyncContextManager[list[Dispatcher]]"]


@contextlib.asynccontextmanager
async def _cluster(url: str, register: Callable[[MCPApp], None]) -> AsyncIterator[list[Dispatcher]]:
    apps = [MCPApp("shop", store=url) for _ in range(1 if url == "memory://" else WORKERS)]
    async with contextlib.AsyncExitStack() as stack:
        dispatchers = []
        for app in apps:
            register(app)
            dispatchers.append(await stack.enter_async_context(app.running()))
        yield dispatchers * (WORKERS // len(apps))


@pytest.fixture
def cluster(store_url: str) -> Start:
    """Makes four workers, each with a store of its own for one URL; with `memory://`, one of them."""
    return lambda register: _cluster(store_url, register)


class Gate:
    """Counts runs, and holds them until it is opened."""

    def __init__(self) -> None:
        self.runs = 0
        self.open = asyncio.Event()

    async def __call__(self) -> int:
        self.runs += 1
        number = self.runs
        await self.open.wait()
        return number


@pytest.fixture
def gate() -> Gate:
    return Gate()
