"""The disk under the SQLite store is full: what must be written is refused, and nothing is damaged.

The easy thing to get wrong is that it fails at once: the files have room of their own that is used again, so a
write may well go on for a while. A limit on the size of files is as good as a full disk, and can be had anywhere;
a disk that is really full needs a namespace of its own.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.cluster.server_processes import ProcessCluster
from support.faults.servers import (
    LOOPS,
    SCRIPT,
    SETTINGS,
    check_refused,
    check_serves,
    check_whole,
    check_whole_or_unknown,
    client_of,
    faulty_cluster,
    numbers,
)
from support.harness import eventually
from support.http_client.connection import Reply
from support.http_client.resuming_client import ResumingClient, seeded
from support.servers.processes import ServerProcess

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")

ATTEMPTS = 2000


def first_refusal(attempt: Callable[[], Reply]) -> Reply:
    """Return the first reply that is a refusal: until the room within the files is used up, there is none."""
    for _ in range(ATTEMPTS):
        reply = attempt()
        if reply.status != 200 or "error" in reply.response:
            return reply
    raise AssertionError("the disk did not fill up")


def streams_go_on(client: ResumingClient) -> None:
    """Fail unless a stream arrives, whether or not it can be kept."""
    with client.call("count", n=100, size=500) as stream:
        check_whole(stream, 100)


def serves_again(client: ResumingClient) -> None:
    """Fail unless everything is as before, once there is room."""
    eventually(lambda: client.session.ask("logging/setLevel", {"level": "info"}, id="level").status == 200)
    with client.call("count", n=300, pause=0.001) as stream:
        stream.until(lambda _: len(numbers(stream)) >= 50)
        stream.cut()
        check_whole(stream, 300)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "shared.db"


@pytest.fixture(scope="module")
def cluster(file: Path) -> Iterator[ProcessCluster]:
    with faulty_cluster(2, f"sqlite:///{file}") as cluster:
        yield cluster


@pytest.mark.parametrize("round", range(LOOPS))
def test_files_may_not_grow(cluster: ProcessCluster, file: Path, round: int) -> None:
    chance = seeded()
    client, asker = client_of(cluster, chance), client_of(cluster, chance)
    check_serves(cluster, client)

    def limit(size: int) -> None:
        for index in cluster.running:
            params = {"name": "limit_files", "arguments": {"size": size}}
            assert not asker.session.ask("tools/call", params, x_backend=str(index)).result.get("isError")

    cut = client.call("count", n=200, pause=0.02)
    with cut:
        cut.until(lambda _: len(numbers(cut)) >= chance.randrange(1, 50))
        limit(0)
        try:
            check_refused(
                first_refusal(lambda: client.session.ask("logging/setLevel", {"level": "debug"}, id="level"))
            )
            check_serves(cluster, client)
            streams_go_on(client)
            cut.cut()
        finally:
            limit(-1)
        check_whole_or_unknown(cut, 200)
    serves_again(client)
    check_serves(cluster, asker)
    assert client.session.call("check_file", file=str(file)).result["content"][0]["text"] == "ok"


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Iterator[tuple[ServerProcess, Path]]:
    """Two workers with their store on a disk of two megabytes, new each time, that nobody else sees."""
    folder = tmp_path
    mount = f"mount -t tmpfs -o size=2m tmpfs {folder}"
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*unshare, mount], check=False).returncode != 0:
        pytest.skip("a disk of one's own needs Linux, and namespaces for everybody")
    command = [*unshare, f"{mount} && exec {sys.executable} {SCRIPT} {{port}} 2"]
    env = {**SETTINGS, "ENFILADE_STORE": f"sqlite:///{folder / 'shared.db'}"}
    with ServerProcess(command, env=env) as server:
        yield server, folder


@pytest.mark.parametrize("round", range(LOOPS))
def test_the_disk_is_full(on_small_disk: tuple[ServerProcess, Path], round: int) -> None:
    server, folder = on_small_disk
    client = ResumingClient(server.port, hurry=True)
    ballast = str(folder / "ballast")
    eventually(lambda: client.session.ask("logging/setLevel", {"level": "info"}, id="level").status == 200)
    for _ in range(20):  # so that both workers know the session
        assert client.session.call("echo", text="before").status == 200
    assert not client.session.call("fill_disk", file=ballast).result.get("isError")
    check_refused(first_refusal(lambda: client.session.ask("logging/setLevel", {"level": "debug"}, id="level")))
    assert client.session.call("echo", text="meanwhile").status == 200
    streams_go_on(client)
    assert not client.session.call("clear_disk", file=ballast).result.get("isError")
    serves_again(client)
    verdict = client.session.call("check_file", file=str(folder / "shared.db"))
    assert verdict.result["content"][0]["text"] == "ok"
