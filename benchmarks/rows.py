"""The rows of the benchmark: which servers are measured beside each other, at which work, set up how.

A group is what is compared: all its servers live at the same time and take turns, the limit first. The easy
thing to get wrong is an unequal pair: what a ratio is taken of stands in one group, with the same work unless
the row says otherwise.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import works
from environments import python_of
from works import Work

SERVERS: Final = Path(__file__).resolve().parent / "servers"
LIMIT: Final = "limit-protocol"
WEB_SERVER: Final = "limit-uvicorn"
TOOLS: Final = 2_000  # of a server with many

Command = tuple[str, ...]


def _script(python: str, name: str, *arguments: str) -> Command:
    return (python, str(SERVERS / name), *arguments)


def _on_uvicorn(app: str, lifespan: str, http: str = "httptools") -> Command:
    return (
        *(sys.executable, "-m", "uvicorn", app, "--app-dir", str(SERVERS), "--port", "{port}"),
        *("--loop", "uvloop", "--http", http, "--lifespan", lifespan, "--no-server-header"),
        *("--log-level", "warning", "--no-access-log"),
    )


_LIMIT_UVICORN: Final = _on_uvicorn("limit_uvicorn:app", "off")
_ENFILADE_ON_UVICORN: Final = _on_uvicorn("enfilade_server:app", "on")
_ENFILADE_WITH_ITS_HTTP: Final = _on_uvicorn("enfilade_server:app", "on", "enfilade.transports.http11:Protocol")
_LIMIT_PROTOCOL: Final = _script(sys.executable, "limit_protocol.py", "{port}")
_ENFILADE: Final = (
    *(str(Path(sys.executable).with_name("enfilade")), "run", str(SERVERS / "enfilade_server.py")),
    *("--transport", "http", "--port", "{port}", "--log-level", "warning"),
)
_SDK: Final = _script(python_of("sdk"), "sdk_server.py", "{port}")
_SDK_LOWLEVEL: Final = _script(python_of("sdk"), "sdk_lowlevel_server.py", "{port}")
_FASTMCP: Final = _script(python_of("fastmcp"), "fastmcp_server.py", "{port}")
_JSON: Final = {"BENCH_JSON": "1"}
_A_TENTH: Final = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One server at one work.

    Attributes:
        group: what it is compared with.
        server: its name, once in its group.
        command: what starts it.
        env: variables that it is started with.
        work: what it has to do; None where it only has to start, or to be there.
        peer: whose environment it needs.
        redis: whether it keeps its state in a Redis.
        both_cores: whether it may use the core of the load as well.
        statement: what is imported, where that is measured.
        folder: where it starts; None for the folder of the benchmark.
    """

    group: str
    server: str
    command: Command = ()
    env: dict[str, str] = field(default_factory=dict)
    work: Work | None = None
    peer: str | None = None
    redis: bool = False
    both_cores: bool = False
    statement: str = ""
    folder: Path | None = None

    @property
    def name(self) -> str:
        return f"{self.group}/{self.server}"


#: Group → what it is, for people.
GROUPS: Final = {
    "calls": "`tools/call`, session-based revisions, JSON",
    "stateless": "`tools/call`, stateless revision (2026-07-28), JSON",
    "observed": "`tools/call`, session-based revisions, logged, measured and traced",
    "step": "one progress report, then the result (SSE)",
    "progress": f"{works.MANY:,} progress reports, then the result (SSE)",
    "log": f"{works.MANY:,} log messages, then the result (SSE)",
    "change": f"a change to {works.FEW_LISTENERS:,} and {works.MANY_LISTENERS:,} listeners, for each of them",
    "handshake": "`initialize` and `notifications/initialized`",
    "mib": "a text of 1 MiB, there and back",
    "blocking": f"a plain `def` tool that blocks for {works.BLOCKED:g} s, {works.BLOCK.connections} callers",
    "connections": "`tools/call` at 8 and at 512 connections",
    "workers": "1 and 2 workers, at 32 connections",
    "idle": "memory of what only waits",
    "import": "`import`, over bare Python",
    "start": "process start to first answer, over bare Python",
    "first-call": "start: CPU to the first call, and memory (PSS) then",
    "many": "many tools: register, start, add, first list",
}


def _limits(group: str, work: Work | None) -> list[Row]:
    return [
        Row(group=group, server=LIMIT, command=_LIMIT_PROTOCOL, work=work),
        Row(group=group, server=WEB_SERVER, command=_LIMIT_UVICORN, work=work),
    ]


def _enfilade(group: str, server: str, work: Work | None, *options: str, **env: str) -> Row:
    return Row(
        group=group,
        server=server,
        command=(*_ENFILADE, *options),
        env={"BENCH_TOOL": work.tool if work and work.tool else "echo", **env},
        work=work,
        redis="ENFILADE_STORE" in env,
        both_cores="--workers" in options,
    )


def _sdk(group: str, server: str, work: Work | None, env: dict[str, str]) -> Row:
    return Row(group=group, server=server, command=_SDK, env=env, work=work, peer="sdk")


def _fastmcp(group: str, server: str, work: Work | None, env: dict[str, str]) -> Row:
    return Row(group=group, server=server, command=_FASTMCP, env=env, work=work, peer="fastmcp")


def _imports() -> Iterator[Row]:
    """Yield one row for each library: what a program that uses it says first."""
    python = sys.executable
    for server, who, peer, statement in (
        (WEB_SERVER, python, None, "import httptools, msgspec, uvicorn, uvloop"),
        ("enfilade", python, None, "import enfilade"),
        ("sdk", python_of("sdk"), "sdk", "from mcp.server.mcpserver import MCPServer"),
        ("fastmcp", python_of("fastmcp"), "fastmcp", "from fastmcp import FastMCP"),
    ):
        yield Row(group="import", server=server, command=(who,), peer=peer, statement=statement)


def _observed() -> Iterator[Row]:
    """Yield a plain call, and the same with what observes it."""
    log, traces = ("--log-level", "info"), {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{collector}/v1/traces"}
    json, unlimited, metrics = (
        {"ENFILADE_LOG_FORMAT": "json"},
        {"ENFILADE_LOG_LIMIT": "0"},
        {"ENFILADE_METRICS": "1"},
    )
    yield _enfilade("observed", "enfilade", works.ECHO)
    yield _enfilade("observed", "enfilade-log", works.ECHO, *log)
    yield _enfilade("observed", "enfilade-log-json", works.ECHO, *log, **json)
    yield _enfilade("observed", "enfilade-log-json-every-line", works.ECHO, *log, **json, **unlimited)
    yield _enfilade("observed", "enfilade-metrics", works.ECHO, **metrics)
    yield _enfilade("observed", "enfilade-traces", works.ECHO, **traces)
    yield _enfilade("observed", "enfilade-traces-a-tenth", works.ECHO, **traces, **_A_TENTH)
    yield _enfilade("observed", "enfilade-all-of-it", works.ECHO, *log, **json, **metrics, **traces)


def _steps(redis: dict[str, str]) -> Iterator[Row]:
    """Yield a call with one progress report, with each kind of store."""
    yield from _limits("step", works.STEP)
    yield _enfilade("step", "enfilade", works.STEP)
    yield _enfilade("step", "enfilade-sqlite", works.STEP, ENFILADE_STORE="{sqlite}")
    yield _enfilade("step", "enfilade-redis", works.STEP, **redis)
    yield _enfilade("step", "enfilade-stateless", works.STEP_STATELESS)
    yield _sdk("step", "sdk", works.STEP, {})
    yield _fastmcp("step", "fastmcp", works.STEP, {})


def _changes(redis: dict[str, str]) -> Iterator[Row]:
    """Yield a change to some listeners and to many, in memory and over Redis."""
    for store, env in (("", {}), ("-redis", redis)):
        yield _enfilade("change", f"enfilade{store}", works.CHANGE, **env)
        yield _enfilade("change", f"enfilade{store}-5000", works.CHANGE_FOR_MANY, **env)


def _stateless() -> Iterator[Row]:
    """Yield a call of the stateless revision."""
    yield from _limits("stateless", works.ECHO_STATELESS)
    yield _enfilade("stateless", "enfilade", works.ECHO_STATELESS)
    yield _enfilade("stateless", "enfilade-authorized", works.ECHO_STATELESS_AUTHORIZED)
    yield _sdk("stateless", "sdk-json", works.ECHO_STATELESS, _JSON)
    yield _fastmcp("stateless", "fastmcp-json", works.ECHO_STATELESS, _JSON)


def _rows() -> Iterator[Row]:
    echo, redis = works.ECHO, {"ENFILADE_STORE": "{redis}"}
    yield from _limits("calls", echo)
    yield _enfilade("calls", "enfilade", echo)
    yield Row(group="calls", server="enfilade-asgi", command=_ENFILADE_ON_UVICORN, work=echo)
    yield Row(group="calls", server="enfilade-http11", command=_ENFILADE_WITH_ITS_HTTP, work=echo)
    yield _enfilade("calls", "enfilade-authorized", works.ECHO_AUTHORIZED)
    yield _enfilade("calls", "enfilade-100-tools", echo, BENCH_OTHERS="99")
    yield _enfilade("calls", "enfilade-redis", echo, **redis)
    yield _enfilade("calls", "enfilade-order", works.ORDER)
    yield _enfilade("calls", "enfilade-sync", works.ECHO_SYNC)
    yield _sdk("calls", "sdk-json", echo, _JSON)
    yield Row(group="calls", server="sdk-lowlevel-json", command=_SDK_LOWLEVEL, work=echo, peer="sdk")
    yield _sdk("calls", "sdk-sse", echo, {})
    yield _sdk("calls", "sdk-sync", works.ECHO_SYNC, _JSON)
    yield _fastmcp("calls", "fastmcp-json", echo, _JSON)
    yield _fastmcp("calls", "fastmcp-sse", echo, {})

    yield from _stateless()
    yield from _observed()

    yield from _steps(redis)

    yield from _limits("progress", works.COUNT)
    yield _enfilade("progress", "enfilade", works.COUNT)
    yield _sdk("progress", "sdk", works.COUNT, {})
    yield _fastmcp("progress", "fastmcp", works.COUNT, {})

    yield from _limits("log", works.TELL)
    yield _enfilade("log", "enfilade", works.TELL)
    yield _enfilade("log", "enfilade-redis", works.TELL, **redis)

    yield from _changes(redis)

    for group, work in (("handshake", works.HANDSHAKE), ("mib", works.ECHO_MIB), ("idle", None)):
        yield from _limits(group, work)
        yield _enfilade(group, "enfilade", work)
        yield _sdk(group, "sdk", work, _JSON)
        yield _fastmcp(group, "fastmcp", work, _JSON)

    yield _enfilade("blocking", "enfilade", works.BLOCK)

    yield _enfilade("connections", "enfilade-8", works.ECHO_AT_8)
    yield _enfilade("connections", "enfilade-512", works.ECHO_AT_512)

    yield _enfilade("workers", "enfilade", works.ECHO_AT_32)
    yield _enfilade("workers", "enfilade-2-workers", works.ECHO_AT_32, "--workers", "2")

    yield from _imports()
    yield from _limits("start", None)
    yield _enfilade("start", "enfilade run", None)
    script = _script(sys.executable, "enfilade_server.py")
    for group in ("start", "first-call"):
        if group == "first-call":
            yield _enfilade(group, "enfilade run", None)
        yield Row(group=group, server="app.run()", command=script, env={"BENCH_PORT": "{port}"})
        yield _sdk(group, "sdk", None, _JSON)
        yield _fastmcp(group, "fastmcp", None, _JSON)
    many = _script(sys.executable, "enfilade_many.py")
    env = {"BENCH_PORT": "{port}", "BENCH_TOOLS": str(TOOLS)}
    yield Row(group="many", server="enfilade", command=many, env=env)


ROWS: Final = tuple(_rows())
