"""A probe server for all tests: over HTTP one for all tests, over stdio one for each file."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from enfilade.timings import Timings
from support.harness import CLIENT_KINDS, Http, McpClient, Serving, open_client
from support.servers.probe_server import ProbeServer

# A machine that is busy with something else is no reason for a property not to hold.
hypothesis.settings.register_profile("enfilade", deadline=None)
hypothesis.settings.load_profile("enfilade")

# Whoever starts the tests in the background of a script, or by nohup, has them ignore these, and all servers too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


TESTS = Path(__file__).resolve().parent

#: The modules that tests share; whoever imports an app from one must get the same app as everybody else.
HELPERS = tuple(
    ".".join(path.relative_to(TESTS).with_suffix("").parts) for path in (TESTS / "support").rglob("*.py")
)


@pytest.fixture(autouse=True)
def same_helpers() -> Iterator[None]:
    """Put back the shared modules that a test has replaced or taken away, for tests that come after it."""
    before = {name: sys.modules[name] for name in HELPERS if name in sys.modules}
    yield
    sys.modules.update(before)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What `pytest.mark.anyio` runs `async def` tests with."""
    return "asyncio"


@pytest.fixture(scope="session")
def probe_server() -> ProbeServer:
    """The server behind `http`, for tests that look inside; it soon gives up on readers that do not read."""
    probe_server = ProbeServer()
    probe_server._timings = Timings(reader_wait=0.2)
    return probe_server


@pytest.fixture(scope="session")
def serving(probe_server: ProbeServer) -> Iterator[Serving]:
    with Serving(probe_server) as serving:
        yield serving


@pytest.fixture
def http(serving: Serving) -> Http:
    return serving.http


@pytest.fixture(params=CLIENT_KINDS, scope="module")
def client(request: pytest.FixtureRequest, serving: Serving) -> Iterator[McpClient]:
    """A client for each era and transport in turn."""
    with open_client(request.param, serving.http) as client:
        yield client
