"""The example `scaling_out`: two servers, a balancer without stickiness, and a Valkey that is a real one.

No container is made here. What the files of the example say is taken out of them and done on this machine, so a
change of theirs is a change of these tests. Easy to get wrong: a figure that fits today. What must be longer or
shorter than a setting is compared with that setting.
"""

import asyncio
import json
import re
import shutil
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from mcp import Client
from mcp.types import ElicitResult

from enfilade import Settings
from enfilade.transports.http11.server import ServerOptions
from support.cluster.server_processes import ProcessCluster
from support.http_client.resuming_client import ResumingClient
from support.servers.processes import HOST, ROOT, enfilade_command, free_port
from support.stores.valkey_server import Valkey

EXAMPLE = ROOT / "examples" / "scaling_out"
SERVERS = ("server-1", "server-2")
DEFAULTS = Settings()
HANDSHAKE, STATELESS = "legacy", "auto"


def services() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((EXAMPLE / "compose.yaml").read_text("utf-8"))
    found: dict[str, Any] = read["services"]
    return found


def dockerfile(instruction: str) -> list[str]:
    """Return what follows an instruction, for each time that it is there."""
    text = (EXAMPLE / "Dockerfile").read_text("utf-8")
    return re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)


def nginx_value(directive: str) -> str:
    (found,) = re.findall(rf"^ *{directive} (.*?);", (EXAMPLE / "nginx.conf").read_text("utf-8"), re.MULTILINE)
    return str(found)


def seconds(text: str) -> float:
    """Return a time as nginx and compose write it."""
    return float(text.removesuffix("s"))


# -- what the files say ------------------------------------------------------------------------------------------


def test_the_balancer_knows_the_servers_there_are() -> None:
    text = (EXAMPLE / "nginx.conf").read_text("utf-8")
    listed = re.findall(r"^ *server ([\w-]+):8000 max_fails=0;", text, re.MULTILINE)
    assert tuple(listed) == SERVERS
    assert set(services()) == {*SERVERS, "balancer", "valkey"}
    assert set(services()["balancer"]["depends_on"]) == set(SERVERS)


def test_the_image_is_made_of_files_that_there_are() -> None:
    build = services()["server-1"]["build"]
    assert build == {"context": "../..", "dockerfile": "examples/scaling_out/Dockerfile"}
    for copied in dockerfile("COPY"):
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists(), source
    assert "hatch_build.py" in " ".join(dockerfile("COPY"))  # which `pip install` runs
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (install,) = dockerfile("RUN")
    extra = re.fullmatch(r'pip install --no-cache-dir "\.\[(\w+)\]"', install)
    assert extra is not None
    assert extra[1] in project["optional-dependencies"]


def test_a_server_may_finish_what_it_has_before_it_is_killed() -> None:
    options = ServerOptions(
        host="",
        port=0,
        log_level="info",
        drain_delay=DEFAULTS.drain_delay,
        shutdown_timeout=DEFAULTS.shutdown_timeout,
    )
    assert seconds(services()["server-1"]["stop_grace_period"]) > options.stop_timeout


def test_the_probe_asks_whether_the_server_is_ready() -> None:
    assert f"8000{DEFAULTS.ready_path}'" in services()["server-1"]["healthcheck"]["test"][-1]


def test_the_proxy_waits_longer_than_a_stream_is_quiet() -> None:
    assert seconds(nginx_value("proxy_read_timeout")) > 2 * DEFAULTS.keep_alive


def test_the_proxy_lets_go_of_idle_connections_before_the_server_does() -> None:
    assert seconds(nginx_value("keepalive_timeout")) < uvicorn.Config("").timeout_keep_alive


def test_the_proxy_lets_through_what_the_server_takes() -> None:
    assert nginx_value("client_max_body_size") == f"{DEFAULTS.body_limit // 1024**2}m"


def test_the_store_forgets_nothing_by_itself() -> None:
    command = services()["valkey"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"


# -- what the servers do -----------------------------------------------------------------------------------------


def command() -> list[str]:
    """Return what a container runs, on an address of this machine."""
    (line,) = dockerfile("CMD")
    program, *words = json.loads(line)
    assert program == "enfilade"
    words[words.index("server.py")] = str(EXAMPLE / "server.py")
    return [*enfilade_command(*words), "--host", HOST, "--port", "{port}"]


def variables() -> dict[str, str]:
    """Return the variables of a container that say neither where it listens nor where its store is."""
    image = dict(pair.split("=") for pair in dockerfile("ENV")[0].split())
    given = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in environment().items()}
    return {**image, **given, "ENFILADE_HOST": HOST, "ENFILADE_PORT": ""}


def environment() -> dict[str, str]:
    found: dict[str, str] = services()["server-1"]["environment"]
    assert found == services()["server-2"]["environment"]
    return found


@contextmanager
def nginx(folder: Path, ports: list[int]) -> Iterator[str]:
    """Run nginx with the example's configuration, before these ports; yields the endpoint's URL."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("there is no nginx here")
    port = free_port()
    text = (EXAMPLE / "nginx.conf").read_text("utf-8").replace("listen 8080", f"listen {HOST}:{port}")
    for name, its in zip(SERVERS, ports, strict=True):
        text = text.replace(f"{name}:8000", f"{HOST}:{its}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder / kind}; " for kind in kinds)
    text = text.replace("http {", f"http {{ access_log off; {places}")
    (folder / "nginx.conf").write_text(text, "utf-8")
    words = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    words += ["-g", f"daemon off; pid {folder / 'nginx.pid'};"]
    subprocess.run([*words, "-t"], check=True, capture_output=True)
    running = subprocess.Popen(words)
    try:
        while running.poll() is None:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)
        assert running.poll() is None, (folder / "error.log").read_text("utf-8")
        yield f"http://{HOST}:{port}/mcp"
    finally:
        running.terminate()
        running.wait(10)


@pytest.fixture(params=["turns", "nginx"], scope="module")
def scaled_out(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProcessCluster, str]]:
    """The two servers, and the URL of what stands before them. Whoever stops one starts it again."""
    folder = tmp_path_factory.mktemp("scaled")
    with Valkey(folder) as valkey:
        store = environment()["ENFILADE_STORE"].replace("redis://valkey:6379", f"redis://{HOST}:{valkey.port}")
        assert str(valkey.port) in store
        env = {name: value for name, value in variables().items() if name != "ENFILADE_STORE"}
        with ProcessCluster(2, command(), store, env) as cluster:
            if request.param == "turns":
                yield cluster, cluster.url
            else:
                with nginx(folder, [server.port for server in cluster.servers]) as url:
                    yield cluster, url


both_eras = pytest.mark.parametrize("mode", [HANDSHAKE, STATELESS])


async def text_of(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    return str(result.content[0].text)  # type: ignore[union-attr]


@both_eras
def test_every_server_serves_the_same_client(scaled_out: tuple[ProcessCluster, str], mode: str) -> None:
    async def call() -> set[str]:
        async with Client(scaled_out[1], mode=mode) as client:
            return {await text_of(client, "served_by") for _ in range(6)}

    pids = {int(each.rpartition("/")[2]) for each in asyncio.run(call())}
    assert pids == set(scaled_out[0].pids())


@both_eras
def test_an_answer_finds_the_question_of_another_server(
    scaled_out: tuple[ProcessCluster, str], mode: str
) -> None:
    """Ten times, as the answer may meet the right server by chance."""
    heard: list[float] = []

    async def yes(context: Any, params: Any) -> ElicitResult:
        assert params.message == "Milk in 2 cups?"
        return ElicitResult(action="accept", content={"value": True})

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append(done)

    async def call() -> None:
        async with Client(scaled_out[1], mode=mode, elicitation_callback=yes) as client:
            for _ in range(10):
                heard.clear()
                result = await client.call_tool("brew", {"cups": 2}, progress_callback=progress)
                assert result.content[0].text == "2 cups with milk"  # type: ignore[union-attr]
                assert heard == [0, 1, 2]

    asyncio.run(call())


def test_a_client_that_hung_up_gets_its_result_from_any_server(scaled_out: tuple[ProcessCluster, str]) -> None:
    async def call() -> list[str]:
        async with Client(scaled_out[1], mode=HANDSHAKE) as client:
            return [await text_of(client, "steep", seconds=0.3) for _ in range(4)]

    assert asyncio.run(call()) == ["steeped for 0.3 seconds"] * 4


def test_a_stream_that_is_cut_goes_on_at_the_other_server(scaled_out: tuple[ProcessCluster, str]) -> None:
    client = ResumingClient(int(re.findall(r":(\d+)/", scaled_out[1])[0]))
    with client.call("brew", cups=20) as stream:  # this client cannot be asked, so there is an error at once
        assert stream.finish()["result"]["isError"]
    able = ResumingClient(client.http.port, capabilities={"elicitation": {}})
    with able.call("brew", cups=20) as stream:
        question = stream.until(lambda message: message.get("method") == "elicitation/create")
        stream.cut(reset=True)
        assert able.answer(question, {"action": "accept", "content": {"value": False}}).status == 202
        for _ in range(3):
            stream.until(lambda message: message.get("method") == "notifications/progress")
            stream.cut(reset=True)
        assert stream.result["content"][0]["text"] == "20 cups without milk"
        assert [each["progress"] for each in stream.sent("notifications/progress")] == list(range(21))


def test_a_server_that_is_lost_takes_no_session_with_it(scaled_out: tuple[ProcessCluster, str]) -> None:
    """Each of the two is killed and started again; the session goes on at whichever is there."""
    cluster, url = scaled_out

    async def call() -> None:
        async with Client(url, mode=HANDSHAKE) as client:
            assert await text_of(client, "served_by")
            for lost in range(2):
                cluster.kill(lost)
                left = {int((await text_of(client, "served_by")).rpartition("/")[2]) for _ in range(4)}
                assert left == set(cluster.pids())
                cluster.start(lost)

    asyncio.run(call())


def test_the_servers_are_replaced_one_by_one_and_no_call_fails(scaled_out: tuple[ProcessCluster, str]) -> None:
    """What a rolling update does, under load: SIGTERM, wait for the end, start anew."""
    cluster, url = scaled_out

    async def replace(ready: asyncio.Barrier) -> None:
        await ready.wait()
        for index in range(2):
            await asyncio.get_running_loop().run_in_executor(None, cluster.restart, index)

    async def calls(ready: asyncio.Barrier, replacing: "asyncio.Task[None]") -> set[int]:
        async with Client(url, mode=HANDSHAKE) as client:
            found = {int((await text_of(client, "served_by")).rpartition("/")[2])}
            await ready.wait()
            while not replacing.done() or not found >= set(cluster.pids()):
                found.add(int((await text_of(client, "served_by")).rpartition("/")[2]))
        return found

    async def all_calls() -> list[set[int]]:
        ready = asyncio.Barrier(4)
        replacing = asyncio.create_task(replace(ready))
        found = await asyncio.gather(*(calls(ready, replacing) for _ in range(3)))
        await replacing
        return found

    before = set(cluster.pids())
    for found in asyncio.run(all_calls()):
        assert found & before
        assert found >= set(cluster.pids())
