"""Stores for the tests of this room; among them a Valkey server for all, and a part of it for each."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from enfilade.state.open import open_store
from enfilade.state.store import LogLimits, Store
from support.stores.kinds import MemoryClock, Open
from support.stores.valkey_server import Valkey

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The server behind `valkey_url`, which is not to be stopped."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture
def valkey_url(shared_valkey: Valkey) -> str:
    """What to give to `open_store`, with a prefix that no other test uses."""
    return f"{shared_valkey.url}?prefix=test{next(_numbers)}:"


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of store in turn."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    return str(request.getfixturevalue("valkey_url"))


@pytest.fixture
async def store(store_url: str, opened: Open) -> Store:
    """A store of each kind in turn, started."""
    return await opened(store_url)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MemoryClock:
    return MemoryClock(monkeypatch)


@pytest.fixture
def shared_url(store_url: str) -> str:
    """The URL of a store that several processes can see."""
    if not open_store(store_url).shared:
        pytest.skip("nobody else sees it")
    return store_url


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens and starts stores, which are closed in the end."""
    stores: list[Store] = []

    async def open_started(url: str, **limits: float) -> Store:
        stores.append(open_store(url, LogLimits(**limits)))  # type: ignore[arg-type]
        await stores[-1].start()
        return stores[-1]

    yield open_started
    for store in stores:
        await store.close()
