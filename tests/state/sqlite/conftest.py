"""The store in a file, for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from enfilade.state.sqlite.store import SqliteStore
from support.stores.kinds import started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with started(path) as store:
        yield store
