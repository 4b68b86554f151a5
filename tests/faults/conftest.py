"""A cluster of servers for each kind of store that several processes can share, started once for each file."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.cluster.server_processes import ProcessCluster
from support.faults.servers import faulty_cluster
from support.stores.valkey_server import Valkey

KINDS = ("sqlite", "redis")


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a store of each kind in turn."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "redis":
            yield stack.enter_context(Valkey(folder)).url
        else:
            yield f"sqlite:///{folder / 'shared.db'}"


@pytest.fixture(scope="module")
def _cluster(store: str) -> Iterator[ProcessCluster]:
    with faulty_cluster(3, store) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: ProcessCluster) -> ProcessCluster:
    """Three servers; one of them may be gone, but not two, whatever the test before has done to them."""
    if len(_cluster.running) < 2:
        _cluster.start(*(set(range(3)) - set(_cluster.running)))
    return _cluster
