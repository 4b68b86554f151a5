"""The port is bound before anything is said: a port in use is one line and an end, port 0 is shown as what it is.

Easy to get wrong: a greeting in front of the error, which tells people to connect to somebody else's server.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enfilade.transports.processes.listeners import ListenError, bind
from support.cluster.worker_processes import SERVER, environment, written
from support.harness import eventually
from support.http_client.connection import Http
from support.servers.processes import enfilade_command

URL = re.compile(r"http://127\.0\.0\.1:(\d+)/mcp\b")

SCRIPT = f"""{SERVER}
if __name__ == "__main__":
    app.run("http", port=int(os.environ["TEST_PORT"]), workers=WORKERS)
"""

WAYS = {
    "one process": ["run", "FILE", "-t", "http", "-p", "PORT"],
    "workers": ["run", "FILE", "-t", "http", "-p", "PORT", "--workers", "2"],
    "reload": ["run", "FILE", "-t", "http", "-p", "PORT", "--reload"],
    "dev": ["dev", "FILE", "-p", "PORT"],
}
SCRIPTS = {"script": "1", "script with workers": "2"}


@pytest.fixture
def occupied_port() -> Iterator[int]:
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def command(way: str, folder: Path, port: int) -> list[str]:
    if way in SCRIPTS:
        return [sys.executable, str(written(folder, SCRIPT.replace("WORKERS", SCRIPTS[way])))]
    given = {"FILE": str(written(folder, SERVER)), "PORT": str(port)}
    return enfilade_command(*(given.get(word, word) for word in WAYS[way]))


@pytest.mark.parametrize("way", [*WAYS, *SCRIPTS])
def test_a_port_in_use_is_one_line_and_the_end(tmp_path: Path, occupied_port: int, way: str) -> None:
    done = subprocess.run(
        command(way, tmp_path, occupied_port),
        env={**os.environ, **environment(occupied_port), "ENFILADE_LOG_LEVEL": "info"},
        capture_output=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert f"port {occupied_port} of 127.0.0.1 is in use" in line


@pytest.mark.parametrize("way", WAYS)
def test_a_free_port_is_greeted_by_its_number(tmp_path: Path, way: str) -> None:
    said = tmp_path / "said"
    with said.open("w") as output:
        server = subprocess.Popen(
            command(way, tmp_path, 0), env={**os.environ, **environment(0)}, stdout=output, stderr=output
        )
    try:
        shown = eventually(lambda: URL.findall(said.read_text(encoding="utf-8")), timeout=90)
        (port,) = {int(number) for number in shown}
        assert port != 0
        eventually(lambda: _serves(port), timeout=90)
    finally:
        server.terminate()
        server.wait(30)


def _serves(port: int) -> bool:
    try:
        return Http(port).modern_call("place").status == 200
    except ConnectionError:
        return False


def test_a_name_is_bound_at_all_its_addresses_and_one_port() -> None:
    listeners = bind("localhost", 0)
    try:
        found = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
        possible = {family for family, *_ in found if family == socket.AF_INET or socket.has_dualstack_ipv6()}
        assert {each.family for each in listeners} == possible
        assert len({each.getsockname()[1] for each in listeners}) == 1
    finally:
        for each in listeners:
            each.close()


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("no-such-host.invalid", "there is no such host"),
        ("192.0.2.1", "it is no address of this machine"),
        ("2001:db8::1", "it is no address of this machine"),
    ],
)
def test_a_host_that_cannot_be_is_said(host: str, said: str) -> None:
    with pytest.raises(ListenError, match=said):
        bind(host, 0)


def test_a_port_that_one_address_lacks_leaves_none_bound(occupied_port: int) -> None:
    with pytest.raises(ListenError, match=f"port {occupied_port} of 127.0.0.1 is in use"):
        bind("127.0.0.1", occupied_port)
