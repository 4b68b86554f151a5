"""Fixtures for the tests of a server: `mcp_client`, connected in each era over each transport, and `mcp_connect`.

A project defines one fixture, `mcp_app`, which returns its `MCPApp` (or a `Command`, or a URL). Then
`async def test_it(mcp_client)` runs once for each era and transport, by the pytest plugin of anyio, which comes
with the official client; `mcp_connect` is for tests that run an event loop of their own, or in that of another
plugin, such as pytest-asyncio.

Easy to get wrong: pytest loads this plugin in every environment with Enfilade. It imports only pytest, and does
not change tests without its fixtures.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from inspect import iscoroutinefunction, signature
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from enfilade.client.connect import Connect
    from enfilade.client.recording_client import Connected

_ERAS: Final = ("stateless", "session")
_TRANSPORTS: Final = ("memory", "stdio", "http")

#: The fixture by which a test is run once for each era and transport.
_PARAMETRIZED: Final = "mcp_era"
#: Parameters of `connect` that are no options of the mark; `era` stands for `eras`, as does `transport`.
_NOT_MARKED: Final = frozenset({"target", "era", "transport", "options"})


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
    """Run a test with a client once for each era and transport."""
    if _PARAMETRIZED not in metafunc.fixturenames:
        return
    options = _marked(metafunc.definition)
    _check_names(metafunc.definition.name, options)
    if "transports" not in options and options.get("headers"):  # only HTTP has headers
        options = {**options, "transports": ["http"]}
    eras = _chosen("eras", options.get("eras"), metafunc.config.getini("mcp_eras"), _ERAS)
    transports = _chosen(
        "transports", options.get("transports"), metafunc.config.getini("mcp_transports"), _TRANSPORTS
    )
    pairs = list(product(eras, transports))
    ids = [f"{era}-{transport}" for era, transport in pairs]
    metafunc.parametrize(("mcp_era", "mcp_transport"), pairs, ids=ids, scope="function", indirect=True)
    if _any_backend(metafunc):  # a mark takes precedence over the parameters of the fixture
        ids = [getattr(pytest, "HIDDEN_PARAM", "asyncio")]
        metafunc.definition.add_marker(pytest.mark.parametrize("anyio_backend", ["asyncio"], ids=ids))


def _marked(item: pytest.Item) -> dict[str, Any]:
    """Return the options of the mark `mcp` of a test. `era` and `transport` are other names for one of each."""
    marker = item.get_closest_marker("mcp")
    options = {} if marker is None else {**marker.kwargs}
    for name in ("era", "transport"):
        if name in options:
            if f"{name}s" in options:
                pytest.fail(
                    f"{item.name}: the mark mcp has {name}= and {name}s=; give one of them", pytrace=False
                )
            options[f"{name}s"] = options.pop(name)
    return options


def _check_names(test: str, options: Mapping[str, Any]) -> None:
    """Refuse an option of the mark that neither `connect` nor the official client has."""
    if not options.keys() - {"eras", "transports"}:
        return
    from difflib import get_close_matches

    from enfilade.client.connect import connect, require_client

    require_client()
    from mcp import Client

    own = ["eras", "transports", *(name for name in signature(connect).parameters if name not in _NOT_MARKED)]
    known = {*own, *signature(Client).parameters}
    for name in options:
        if name not in known:
            near = get_close_matches(name, own, 1)
            hint = (
                f"did you mean {near[0]}=?" if near else f"it takes {', '.join(own)}, and options of mcp.Client"
            )
            pytest.fail(f"{test}: the mark mcp has no option {name!r}; {hint}", pytrace=False)


def _chosen(option: str, value: Any, default: Sequence[str], choices: Sequence[str]) -> Sequence[str]:
    chosen = [value] if isinstance(value, str) else default if value is None else list(value)
    unknown = [name for name in chosen if name not in choices]
    if unknown or not chosen:
        problem = f"no {option}" if not chosen else f"no {unknown[0]!r} among {option}"
        pytest.fail(f"there is {problem} of mcp_client; choose from {', '.join(choices)}", pytrace=False)
    return chosen


def _any_backend(metafunc: pytest.Metafunc) -> bool:
    """Return whether anyio would run the test once for each of its backends; a server needs asyncio."""
    definitions = getattr(metafunc, "_arg2fixturedefs", {}).get("anyio_backend")
    return definitions is not None and definitions[-1].params is not None


@pytest.fixture
def mcp_app() -> Any:
    """The server under test; a project defines a fixture of this name."""
    raise pytest.UsageError(
        "define a fixture `mcp_app` in conftest.py, which returns your MCPApp, and mcp_client connects to it"
    )


@pytest.fixture
def mcp_era(request: pytest.FixtureRequest) -> str:
    """The era of the test's client: `stateless` or `session`."""
    return str(request.param)


@pytest.fixture
def mcp_transport(request: pytest.FixtureRequest) -> str:
    """The transport of the test's client: `memory`, `http` or `stdio`."""
    return str(request.param)


@pytest.fixture
def mcp_connect(request: pytest.FixtureRequest, mcp_app: Any, mcp_era: str, mcp_transport: str) -> Connect:
    """`async with mcp_connect(answers=[...]) as client`, in any event loop of asyncio."""
    from enfilade.client.connect import connect

    options = _marked(request.node)
    for name in ("eras", "transports"):
        options.pop(name, None)
    transport = mcp_transport if _is_app(mcp_app) else None
    return partial(connect, mcp_app, **{"era": mcp_era, "transport": transport, **options})


def _is_app(target: Any) -> bool:
    """Return whether a target supports all transports; a command, a URL and a host support one each."""
    return hasattr(target, "running")


def _check_runner(request: pytest.FixtureRequest) -> None:
    """Fail if the test cannot await the client.

    It is no `async def`; or pytest-asyncio runs it, whose event loop is not the client's: each call would hang.
    """
    function = getattr(request.function, "hypothesis", None)
    function = request.function if function is None else function.inner_test
    if not iscoroutinefunction(function) and "mcp_client" in signature(function).parameters:
        pytest.fail(
            f"mcp_client needs `async def`: write `async def {request.function.__name__}(...)` and await the "
            "calls; a test that runs an event loop itself takes mcp_connect",
            pytrace=False,
        )
    if "pytest_asyncio" in sys.modules and request.node.get_closest_marker(
        "asyncio"
    ):  # auto mode sets the mark as well
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
