"""Work that lasts longer than its worker's lease, while its client is cut off: the worker is not taken for dead.

The lease is two seconds here, in place of twelve.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster.server_processes import ProcessCluster
from support.faults.servers import COMMAND, LOOPS, SETTINGS, check_whole, client_of
from support.http_client.resuming_client import seeded

LEASE = 2.0


@pytest.fixture(scope="module")
def leased_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """Two servers."""
    folder: Path = tmp_path_factory.mktemp("leased")
    settings = {**SETTINGS, "FAULTY_LEASE": str(LEASE)}
    with ProcessCluster(2, COMMAND, f"sqlite:///{folder / 'shared.db'}", settings) as cluster:
        yield cluster


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_worker_that_lives_longer_than_a_lease_is_alive(leased_cluster: ProcessCluster, round: int) -> None:
    """R-351: whoever reads its stream at another worker waits for it, and gets all of it."""
    client = client_of(leased_cluster, seeded())
    with client.call("count", n=2, pause=2 * LEASE) as stream:
        next(stream)
        stream.cut()
        while len(stream.served_by) < 2:
            next(stream)
        assert stream.served_by[0] != stream.served_by[1]
        check_whole(stream, 2)
