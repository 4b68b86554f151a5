"""Fixtures for the tests of a server: `mcp_client`, connected in each era over each transport, and `mcp_connect`.

A project defines one fixture, `mcp_app`, which returns its `MCPApp` (or a `Command`, or a URL). Then
`async def test_it(mcp_client)` runs once for each era and transport, by the pytest plugin of anyio, which comes
with the official client; `mcp_connect` is for tests that run an event loop of their own, or in that of another
plugin, such as pytest-asyncio.

Easy to get wrong: pytest loads this in every run of everybody who has Enfilade installed. It imports nothing but
pytest, and adds nothing to tests that do not ask for its fixtures.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from enfilade.client.connect import Connect
    from enfilade.client.recording_client import Connected

_ERAS: Final = ("stateless", "session")
_TRANSPORTS: Final = ("memory", "stdio", "http")

#: What a test asks for to be run once for each era and transport.
_ASKS: Final = "mcp_era"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the ini file."""
    parser.addini("mcp_eras", "eras that mcp_client speaks: stateless, session", "args", ["stateless", "session"])
    parser.addini(
        "mcp_transports", "transports that mcp_client takes: memory, http, stdio", "args", ["memory", "http"]
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "mcp(eras=[...], transports=[...], **options): what mcp_client speaks in this test; options are those of "
        "enfilade.testing.connect, such as answers=[...]",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a client once for each era and transport."""
    if _ASKS not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("mcp")
    said = {} if marker is None else marker.kwargs
    if "transports" not in said and said.get("headers"):  # which only HTTP has
        said = {**said, "transports": ["http"]}
    eras = _chosen("eras", said.get("eras"), metafunc.config.getini("mcp_eras"), _ERAS)
    transports = _chosen(
        "transports", said.get("transports"), metafunc.config.getini("mcp_transports"), _TRANSPORTS
    )
    pairs = list(product(eras, transports))
    ids = [f"{era}-{transport}" for era, transport in pairs]
    metafunc.parametrize(("mcp_era", "mcp_transport"), pairs, ids=ids, scope="function", indirect=True)
    if _any_backend(metafunc):  # by a mark, which outranks the parameters that the fixture has itself
        ids = [getattr(pytest, "HIDDEN_PARAM", "asyncio")]
        metafunc.definition.add_marker(pytest.mark.parametrize("anyio_backend", ["asyncio"], ids=ids))


def _chosen(what: str, said: Any, usual: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    chosen = [said] if isinstance(said, str) else usual if said is None else list(said)
    unknown = [each for each in chosen if each not in known]
    if unknown or not chosen:
        found = f"no {what}" if not chosen else f"no {unknown[0]!r} among {what}"
        raise pytest.UsageError(f"there is {found} of mcp_client; choose from {', '.join(known)}")
    return chosen


def _any_backend(metafunc: pytest.Metafunc) -> bool:
    """Whether anyio would run the test once for each of its backends; a server needs asyncio."""
    definitions = getattr(metafunc, "_arg2fixturedefs", {}).get("anyio_backend")
    return definitions is not None and definitions[-1].params is not None


@pytest.fixture
def mcp_app() -> Any:
    """The server to be tested; a project defines a fixture of this name."""
    raise pytest.UsageError(
        "define a fixture `mcp_app` in conftest.py, which returns your MCPApp, and mcp_client connects to it"
    )


@pytest.fixture
def mcp_era(request: pytest.FixtureRequest) -> str:
    """The era that the test's client speaks: `stateless` or `session`."""
    return str(request.param)


@pytest.fixture
def mcp_transport(request: pytest.FixtureRequest) -> str:
    """The transport that the test's client takes: `memory`, `http` or `stdio`."""
    return str(request.param)


@pytest.fixture
def mcp_connect(request: pytest.FixtureRequest, mcp_app: Any, mcp_era: str, mcp_transport: str) -> Connect:
    """`async with mcp_connect(answers=[...]) as client`, in any event loop of asyncio."""
    from enfilade.client.connect import connect

    marker = request.node.get_closest_marker("mcp")
    options = {} if marker is None else {**marker.kwargs}
    for name in ("eras", "transports"):
        options.pop(name, None)
    transport = mcp_transport if _is_app(mcp_app) else None
    return partial(connect, mcp_app, **{"era": mcp_era, "transport": transport, **options})


def _is_app(target: Any) -> bool:
    """Whether a target can be reached by any transport; a command, a URL and a host have one each."""
    return hasattr(target, "running")


def _check_runner(request: pytest.FixtureRequest) -> None:
    """Fail if pytest-asyncio runs the test: in its event loop, not the client's, each call would wait."""
    if "pytest_asyncio" in sys.modules and request.node.get_closest_marker("asyncio"):  # auto mode marks it, too
        pytest.fail(
            "pytest-asyncio runs this test in an event loop of its own, and mcp_client is in that of anyio: take "
            "mcp_connect instead (`async with mcp_connect() as client:`), or let anyio run the test, without the "
            "mark asyncio and without asyncio_mode=auto",
            pytrace=False,
        )


@pytest.fixture
async def mcp_client(
    request: pytest.FixtureRequest, anyio_backend: Any, mcp_connect: Connect
) -> AsyncIterator[Connected]:
    """The official client, connected to `mcp_app`: in each era, over each transport."""
    _check_runner(request)
    async with mcp_connect() as client:
        yield client
