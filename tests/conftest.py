"""A probe server for all tests: over HTTP one for all tests, over stdio one for each file."""

import compileall
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from enfilade.timings import Timings
from support import tooling
from support.authorization.oidc_provider import OidcProvider
from support.authorization.protected_server import ProtectedServer
from support.harness import CLIENT_KINDS, Http, McpClient, Serving, open_client
from support.schemas import validator  # noqa: F401 - long to load, and not within a test that measures something
from support.servers.changing_server import ChangingServer
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


#: The files that take longest, which begin first: one that began last would hold up the end of all.
LONG = (
    "test_first_minutes.py",
    "clients/test_clients.py",
    "docs/test_docs.py",
    "test_examples.py",
    "serving/client_requests/test_matrix.py",
    "test_draining.py",
    "clients/test_types.py",
    "transports/processes/test_workers.py",
    "faults/test_endings.py",
    "docs/test_types.py",
    "test_authorization_examples.py",
    "test_packaging.py",
    "auth/test_interleavings.py",
    "testing/test_pytest_plugin.py",
    "faults/test_connections.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the source once, for the hundreds of processes that tests start.

    Where Python is told to write no bytecode each of them would do it anew: half of what its start costs.
    """
    if not hasattr(config, "workerinput"):
        for folder in (TESTS.parent / "src", TESTS / "support"):
            compileall.compile_dir(folder, quiet=2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; within a file, and among the others, the order stays."""
    order = {TESTS / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path, len(LONG)))


@pytest.fixture(autouse=True)
def same_helpers() -> Iterator[None]:
    """Put back the shared modules that a test has replaced or taken away, for tests that come after it."""
    before = {name: sys.modules[name] for name in HELPERS if name in sys.modules}
    yield
    sys.modules.update(before)


@pytest.fixture(autouse=True)
def same_log_levels() -> Iterator[None]:
    """Put back the levels of loggers that a server has set here: they decide what is observed."""
    loggers = [logging.getLogger(name) for name in (None, "enfilade", "enfilade.requests", "enfilade.serving")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        if logger.level != level:
            logger.setLevel(level)


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


@pytest.fixture(scope="module")
def changing() -> Iterator[tuple[ChangingServer, Http]]:
    """A server whose lists and resources change when it is told to."""
    app = ChangingServer()
    with Serving(app) as serving:
        yield app, serving.http


@pytest.fixture(scope="session")
def running_protected_server() -> Iterator[ProtectedServer]:
    with ProtectedServer() as server:
        yield server


@pytest.fixture
def protected_server(running_protected_server: ProtectedServer) -> ProtectedServer:
    """A protected server whose answers are right, with its authorization server; a test may make them wrong."""
    running_protected_server.reset()
    return running_protected_server


@pytest.fixture(scope="session")
def running_oidc_provider() -> Iterator[OidcProvider]:
    with tooling.or_skip():
        tooling.node_package("oidc-provider")
        tooling.node()
    with OidcProvider() as provider:
        yield provider


@pytest.fixture
def oidc_provider(running_oidc_provider: OidcProvider) -> OidcProvider:
    """A real authorization server, with the settings of its start."""
    running_oidc_provider.reset()
    return running_oidc_provider
