"""Stores that several workers share: a file, and a part of one Valkey server."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stores.valkey_server import Valkey

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def valkey_of_limits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a file that is not there yet."""
    return f"sqlite:///{tmp_path / 'state.db'}"


@pytest.fixture
def valkey_url(valkey_of_limits: Valkey) -> str:
    """The URL of an empty part of a Valkey server."""
    return f"{valkey_of_limits.url}?prefix=limits{next(_numbers)}:"


@pytest.fixture(params=["sqlite", "valkey"])
def shared_url(request: pytest.FixtureRequest) -> str:
    """The URL of a store of each kind, which is empty."""
    return str(request.getfixturevalue(f"{request.param}_url"))
