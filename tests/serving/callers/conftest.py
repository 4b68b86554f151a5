"""Stores of every kind for what is kept for callers."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stores.valkey_server import Valkey

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The server behind the stores of the kind redis."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of store in turn."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    valkey: Valkey = request.getfixturevalue("shared_valkey")
    return f"{valkey.url}?prefix=state{next(_numbers)}:"
