"""`await app.run_async()`: a server beside other tasks, in an event loop that is not its own.

Over HTTP the servers run in the loop of the test, on real sockets. Signals and stdio are tried with processes.
Nothing looks at a clock: what must happen is awaited, and the test's own limit ends what never happens.
"""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from enfilade import MCPApp, Settings
from enfilade.launch import _check_proxies
from enfilade.settings import SettingsError
from enfilade.transports.processes.listeners import bind
from support.http_client.connection import Http
from support.servers.processes import HOST, environment, free_port
from support.stdio_client.connection import Stdio

pytestmark = pytest.mark.anyio


class Tea:
    """An app whose tool can be held up, and which notes what its lifespan does."""

    def __init__(self, **settings: Any) -> None:
        self.notes: list[str] = []
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.port = free_port()
        given = {"drain_delay": 0.0, "shutdown_timeout": 5.0, **settings}
        self.app = MCPApp("Tea", lifespan=self._lifespan, settings=Settings(**given))
        self.app.add_tool(self._brew, name="brew", description="Brew tea.")

    @asynccontextmanager
    async def _lifespan(self, app: MCPApp) -> AsyncIterator[None]:
        self.notes.append("opened")
        yield
        self.notes.append("closed")

    async def _brew(self) -> str:
        self.entered.set()
        await self.go_on.wait()
        self.notes.append("brewed")
        return "a cup"

    def start(self) -> "asyncio.Task[None]":
        return asyncio.create_task(self.app.run_async("http", host=HOST, port=self.port, log_level="warning"))

    async def serves(self, serving: "asyncio.Task[None]") -> None:
        """Wait until it listens."""
        while not serving.done():
            try:
                _, writer = await asyncio.open_connection(HOST, self.port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
        await serving  # which says why it does not

    async def call_in_progress(self) -> tuple["asyncio.Task[None]", "asyncio.Task[dict[str, Any]]"]:
        """Serve, and let the tool be called: return both tasks once the tool has begun."""
        serving = self.start()
        await self.serves(serving)
        calling = asyncio.create_task(self.call())
        await self.entered.wait()
        return serving, calling

    async def call(self) -> dict[str, Any]:
        """Call the tool from a thread, since the client blocks."""
        return await asyncio.to_thread(lambda: Http(self.port).initialize().call("brew").response)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


async def test_it_serves_beside_other_tasks_until_it_is_cancelled() -> None:
    tea = Tea()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    beside = asyncio.create_task(tick())
    serving = tea.start()
    await tea.serves(serving)
    tea.go_on.set()
    before = ticks
    assert (await tea.call())["result"]["content"] == [{"type": "text", "text": "a cup"}]
    assert ticks > before
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not beside.done()
    beside.cancel()
    assert tea.notes == ["opened", "brewed", "closed"]
    assert is_free(tea.port)


async def test_what_is_in_flight_is_finished_before_the_cancellation_is_raised() -> None:
    tea = Tea()
    serving, calling = await tea.call_in_progress()
    serving.cancel()
    done, _ = await asyncio.wait((serving,), timeout=0.3)
    assert not done
    tea.go_on.set()
    assert (await calling)["result"]["content"] == [{"type": "text", "text": "a cup"}]
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert tea.notes == ["opened", "brewed", "closed"]


async def test_a_call_that_does_not_end_holds_up_nothing_for_longer_than_the_limit() -> None:
    tea = Tea(shutdown_timeout=1.0)
    serving, calling = await tea.call_in_progress()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert "error" in await calling
    assert tea.notes == ["opened", "closed"]


async def test_a_second_cancellation_ends_it_at_once() -> None:
    tea = Tea(shutdown_timeout=600.0)
    serving, calling = await tea.call_in_progress()
    serving.cancel()
    await asyncio.wait((serving,), timeout=0.2)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await asyncio.wait((calling,))  # cut off, or told so
    assert calling.exception() is not None or "error" in calling.result()
    assert tea.notes == ["opened", "closed"]
    assert is_free(tea.port)


async def test_a_limit_around_it_is_an_ordinary_limit() -> None:
    tea = Tea()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await tea.app.run_async("http", host=HOST, port=tea.port, log_level="warning")
    assert tea.notes in ([], ["opened", "closed"])
    assert is_free(tea.port)


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_a_lifespan_that_is_still_starting_is_cancelled(transport: str) -> None:
    notes: list[str] = []
    begun = asyncio.Event()

    @asynccontextmanager
    async def slow(app: MCPApp) -> AsyncIterator[None]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            notes.append("cleaned up")
        yield

    others = asyncio.all_tasks()
    serving = asyncio.create_task(MCPApp("Tea", lifespan=slow).run_async(transport, port=free_port()))
    await begun.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert notes == ["cleaned up"]
    while left := asyncio.all_tasks() - others:  # uvicorn's own task needs another turn
        await asyncio.wait(left)


async def test_it_can_be_run_again() -> None:
    tea = Tea()
    tea.go_on.set()
    for _ in range(2):
        serving = tea.start()
        await tea.serves(serving)
        assert "result" in await tea.call()
        serving.cancel()
        await asyncio.wait((serving,))
    assert tea.notes == ["opened", "brewed", "closed"] * 2


async def test_a_port_that_is_taken_is_an_error_and_not_the_end_of_the_process() -> None:
    tea = Tea()
    with socket.create_server((HOST, tea.port)):
        with pytest.raises(RuntimeError) as caught:
            await tea.start()
    assert str(caught.value) == (
        f"port {tea.port} of {HOST} is in use: another server may be running there; "
        "stop it, or choose another port"
    )
    assert tea.notes == [], "the lifespan starts once the port is bound"


async def test_a_start_that_fails_changes_no_setting() -> None:
    """What was refused, or could not be bound, has no effect on the next start."""
    tea = Tea()
    tea.go_on.set()
    before = tea.app.settings
    for refused in ({"workers": 2}, {"reload": True}, {"port": -1}):
        with pytest.raises(SettingsError):
            await tea.app.run_async("http", **refused)
        assert tea.app.settings is before
    with socket.create_server((HOST, tea.port)):
        with pytest.raises(RuntimeError, match="is in use"):
            await tea.start()
    assert tea.app.settings is before
    serving = tea.start()
    await tea.serves(serving)
    assert "result" in await tea.call()
    serving.cancel()
    await asyncio.wait((serving,))


async def test_a_cancellation_while_the_host_is_looked_up_leaves_no_port_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tea = Tea()
    looking, go_on, bound = threading.Event(), threading.Event(), threading.Event()

    def slow(host: str, port: int) -> list[socket.socket]:
        looking.set()
        go_on.wait(60)
        listeners = bind(host, port)
        bound.set()
        return listeners

    monkeypatch.setattr("enfilade.transports.processes.listeners.bind", slow)
    serving = tea.start()
    await asyncio.to_thread(looking.wait, 60)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    go_on.set()
    assert await asyncio.to_thread(bound.wait, 60)
    while not is_free(tea.port):
        await asyncio.sleep(0.01)
    assert tea.notes == []


async def test_a_lifespan_that_fails_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def broken(app: MCPApp) -> AsyncIterator[None]:
        raise OSError("no water")
        yield

    app = MCPApp("Tea", lifespan=broken)
    with pytest.raises(RuntimeError, match="could not start"):
        await app.run_async("http", host=HOST, port=free_port())
    assert "no water" in caplog.text


def test_another_thread_may_run_it_and_signals_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen: list[Any] = []

    async def serve() -> None:
        tea = Tea()
        tea.go_on.set()
        serving = tea.start()
        await tea.serves(serving)
        seen.append([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])
        seen.append(await tea.call())
        serving.cancel()
        await asyncio.wait((serving,))

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    thread.join()
    assert seen[0] == before
    assert "result" in seen[1]


REFUSED: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "workers": ({"transport": "http", "workers": 2}, {}, "workers=2 needs app.run()"),
    "workers of the environment": ({"transport": "http"}, {"ENFILADE_WORKERS": "3"}, "workers=3 needs app.run()"),
    "workers over stdio": ({"workers": 2}, {}, "workers=2 needs app.run()"),
    "reload": ({"transport": "http", "reload": True}, {}, "reload needs app.run()"),
    "reload over stdio": ({"reload": True}, {}, "reload needs app.run()"),
    "a bad port": ({"port": -1}, {}, "port (argument): Input should be greater"),
    "a proxy that is a name": (
        {"transport": "http"},
        {"ENFILADE_FORWARDED_ALLOW_IPS": "10.0.0.7,proxy.internal"},
        "forwarded_allow_ips: 'proxy.internal' is no address of a proxy",
    ),
    "a network with more than its address": (
        {"transport": "http"},
        {"ENFILADE_FORWARDED_ALLOW_IPS": "10.0.0.7/8"},
        "the network of that address is 10.0.0.0/8",
    ),
    "a proxy with a port": (
        {"transport": "http"},
        {"ENFILADE_FORWARDED_ALLOW_IPS": "10.0.0.7:80"},
        "forwarded_allow_ips: '10.0.0.7:80' is no address of a proxy",
    ),
    "a proxy that is nonsense in the variable": (
        {"transport": "http"},
        {"FORWARDED_ALLOW_IPS": "127.0.0.1, 10.0.0.256"},
        "the variable FORWARDED_ALLOW_IPS: '10.0.0.256' is no address of a proxy",
    ),
}


@pytest.mark.parametrize(("given", "variables", "text"), REFUSED.values(), ids=REFUSED)
async def test_what_it_cannot_do_is_refused(
    given: dict[str, Any], variables: dict[str, str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        await MCPApp("Tea").run_async(**given)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [["*"], ["10.0.0.7", "fd00::1", "fe80::1%eth0"], ["10.0.0.0/8", "fd00::/8"], ["/run/x.sock", "unix:"]],
)
def test_proxies_that_can_be_are_taken(names: list[str]) -> None:
    _check_proxies(Settings(forwarded_allow_ips=tuple(names)))


RUN_REFUSES: dict[str, dict[str, Any]] = {
    "workers over stdio": {"transport": "stdio", "workers": 2},
    "reload and workers": {"transport": "http", "workers": 2, "reload": True},
    "a bad port": {"transport": "http", "port": -1},
    "a store that there is not": {"transport": "http"},
    "a taken port": {"transport": "http", "port": None},
}


@pytest.mark.parametrize("case", RUN_REFUSES)
def test_run_changes_no_setting_either_if_it_cannot_start(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = MCPApp("Tea", port=0)
    before = app.settings
    given = dict(RUN_REFUSES[case])
    with socket.create_server((HOST, 0)) as taken:
        if case == "a taken port":
            given["port"] = taken.getsockname()[1]
        if case == "a store that there is not":
            monkeypatch.setenv("ENFILADE_STORE", "cupboard://")
        with pytest.raises((SettingsError, SystemExit)):
            app.run(**given)
    assert app.settings is before


# -- run() in a loop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_run_in_a_running_loop_says_what_to_do(transport: str, workers: int, monkeypatch: Any) -> None:
    """In one line, and no coroutine is left that nobody awaited."""
    workers = workers if transport == "http" else 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError) as caught:
            MCPApp("Tea", port=0).run(transport, workers=workers)
    assert "await app.run_async(...)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_and_all_that_a_script_prints_of_it_is_that_line(transport: str, tmp_path: Path) -> None:
    script = tmp_path / "inside.py"
    script.write_text(
        "import asyncio\nfrom enfilade import MCPApp\napp = MCPApp('Tea', port=0)\n"
        f"async def main():\n    try:\n        app.run({transport!r})\n"
        "    except RuntimeError as error:\n        print(error)\nasyncio.run(main())\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-W", "always", str(script)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "run() would block the running event loop; use `await app.run_async(...)` instead\n"


# -- processes -----------------------------------------------------------------------------------------------

SCRIPT = """
import asyncio, signal, sys
from contextlib import asynccontextmanager
from enfilade import MCPApp

@asynccontextmanager
async def lifespan(app):
    yield
    print("lifespan closed", file=sys.stderr, flush=True)

app = MCPApp("Tea", lifespan=lifespan)

@app.tool
async def brew() -> str:
    "Brew tea."
    return "a cup"

async def beside():
    try:
        while True:
            print("beside", file=sys.stderr, flush=True)
            await asyncio.sleep(0.05)
    finally:
        print("beside ended", file=sys.stderr, flush=True)

async def main():
    task = asyncio.create_task(beside())
    try:
        {body}
    finally:
        task.cancel()
        await asyncio.wait((task,))

asyncio.run(main())
print("over", file=sys.stderr, flush=True)
"""


def script(folder: Path, body: str) -> Path:
    file = folder / "server.py"
    file.write_text(SCRIPT.replace("{body}", body), encoding="utf-8")
    return file


def test_over_stdio_beside_another_task(tmp_path: Path) -> None:
    file = script(tmp_path, "await app.run_async()")
    with Stdio([sys.executable, str(file)], environment()) as stdio:
        stdio.initialize()
        answer = stdio.ask("tools/call", {"name": "brew", "arguments": {}}, id=5)
        assert answer["result"]["content"] == [{"type": "text", "text": "a cup"}]
        assert stdio.end() == 0
    assert "beside\n" in stdio.log
    assert stdio.log.splitlines()[-3:] == ["lifespan closed", "beside ended", "over"]


def test_over_stdio_until_it_is_cancelled(tmp_path: Path) -> None:
    """The input is still open; nothing waits for it."""
    body = (
        "serving = asyncio.create_task(app.run_async())\n"
        "        await asyncio.sleep(0.5)\n"
        "        serving.cancel()\n"
        "        await asyncio.wait((serving,))\n"
        "        print('cancelled', serving.cancelled(), file=sys.stderr, flush=True)"
    )
    with Stdio([sys.executable, str(script(tmp_path, body))], environment()) as stdio:
        assert stdio.process.wait(60) == 0
    assert stdio.log.splitlines()[-4:] == ["lifespan closed", "cancelled True", "beside ended", "over"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_the_server_first_and_then_the_program(tmp_path: Path) -> None:
    port = free_port()
    file = script(tmp_path, f"await app.run_async('http', port={port}, log_level='warning')")
    process = subprocess.Popen([sys.executable, str(file)], env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        wait_for_port(port, process)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    lines = [line for line in stderr.splitlines() if line in ("lifespan closed", "beside ended", "over")]
    assert lines == ["lifespan closed", "beside ended"]
    assert stderr.rstrip().endswith("KeyboardInterrupt")


def wait_for_port(port: int, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None and is_free(port):
        threading.Event().wait(0.02)
