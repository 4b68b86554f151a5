"""The bars: what Enfilade has set itself, and whether a run holds it.

Most bars are seen both ways, by calls a second and by processor time of the server, and hold only if both do.
The easy thing to get wrong is the direction: a ratio by processor time is the other's over ours, so that more
is better either way; where less is better, a bar says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from results import Figures, Results, Spread, by_cpu, by_rate
from rows import LIMIT, TOOLS, WEB_SERVER
from works import BLOCK, BLOCKED, MANY

Reading = Callable[[Results], Spread | None]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar.

    Attributes:
        what: the work, for people.
        bound: what must be reached.
        rows: what it is drawn from.
        unit: what the figures are in.
        by_rate: the figure as a client sees it; None where there is none.
        by_cpu: the figure by the server's processor time; None where there is none.
        at_most: less is better.
        digits: decimals that are shown.
    """

    what: str
    bound: float
    rows: tuple[str, ...]
    unit: str
    by_rate: Reading | None = None
    by_cpu: Reading | None = None
    at_most: bool = False
    digits: int = 2

    def readings(self, results: Results) -> list[Spread | None]:
        """Return both figures; None for what was not measured or does not exist."""
        return [read(results) if read is not None else None for read in (self.by_rate, self.by_cpu)]

    def passed(self, figure: Spread) -> bool:
        """Whether the median of a figure is where it must be."""
        return figure.median <= self.bound if self.at_most else figure.median >= self.bound

    def held(self, results: Results) -> bool | None:
        """Return whether the bar holds; None if it was not measured. It does not where a row does not count."""
        if any(row in results.problems for row in self.rows):
            return False
        found = [figure for figure in self.readings(results) if figure is not None]
        return all(self.passed(figure) for figure in found) if found else None

    def wanted(self) -> str:
        """Return the bound for people."""
        bound = f"{self.bound:,.2f}".removesuffix(".00") if self.bound < 100 else f"{self.bound:,.0f}"
        return f"{'≤' if self.at_most else '≥'} {bound}{self.unit}"


def _ratio(what: str, bound: float, row: str, other: str, unit: str) -> Bar:
    return Bar(
        what=what,
        bound=bound,
        rows=(row, other),
        unit=unit,
        by_rate=lambda results: results.compared(row, other, by_rate),
        by_cpu=lambda results: results.compared(row, other, by_cpu),
    )


def _observed(what: str, most: float, server: str) -> Bar:
    """Return the bar of what observes calls."""
    return _more(what, most, f"observed/{server}", "observed/enfilade")


def _more(what: str, most: float, row: str, plain: str = "calls/enfilade") -> Bar:
    """Return the bar of what a call may cost beyond one of a tool that returns its text, in server CPU."""
    return Bar(
        what=what,
        bound=most,
        rows=(row, plain),
        unit=" µs of CPU",
        by_cpu=lambda results: results.compared(row, plain, lambda mine, plain: mine["cpu"] - plain["cpu"]),
        at_most=True,
        digits=1,
    )


def _of_limit(what: str, bound: float, row: str) -> Bar:
    return _ratio(what, bound, row, f"{row.partition('/')[0]}/{LIMIT}", " of the limit")


def _figure(what: str, bound: float, row: str, unit: str, wall: str, cpu: str | None, digits: int = 0) -> Bar:
    return Bar(
        what=what,
        bound=bound,
        rows=(row,),
        unit=unit,
        by_rate=lambda results: results.spread(row, wall),
        by_cpu=(lambda results: results.spread(row, cpu)) if cpu else None,
        at_most=True,
        digits=digits,
    )


def _used(what: str, bound: float, row: str, unit: str, figure: str, digits: int = 0) -> Bar:
    """Return the bar of what a server uses at most: its processor time or its memory."""
    return Bar(
        what=what,
        bound=bound,
        rows=(row,),
        unit=unit,
        by_cpu=lambda results: results.spread(row, figure),
        at_most=True,
        digits=digits,
    )


def _of_change(what: str, most: float, row: str) -> Bar:
    return Bar(
        what=what,
        bound=most,
        rows=(row,),
        unit=" µs",
        by_cpu=lambda results: results.spread(row, "cpu"),
        at_most=True,
        digits=1,
    )


def _scaled(row: str, figure: Callable[[Figures], float]) -> Reading:
    return lambda results: results.compared(row, row, lambda mine, _: figure(mine))


#: The default of the setting `tool_threads`.
MOST_THREADS: Final = 200
#: A session that costs a server nothing still moves its memory a little.
_NOTHING: Final = 0.1

BARS: Final = (
    _of_limit("`tools/call`, session-based revisions", 0.65, "calls/enfilade"),
    _ratio("the same, and the official SDK at its best", 7.0, "calls/enfilade", "calls/sdk-json", "x"),
    _ratio("the same, and the official SDK by default", 15.0, "calls/enfilade", "calls/sdk-sse", "x"),
    _of_limit("`tools/call`, stateless revision", 0.65, "stateless/enfilade"),
    _ratio(
        "on uvicorn with the HTTP of `run()`, and a bare app",
        0.85,
        "calls/enfilade-http11",
        f"calls/{WEB_SERVER}",
        "x",
    ),
    _ratio(
        "on uvicorn with its own HTTP, and a bare app", 0.75, "calls/enfilade-asgi", f"calls/{WEB_SERVER}", "x"
    ),
    Bar(
        what="512 connections, and 8",
        bound=1.2,
        rows=("connections/enfilade-512", "connections/enfilade-8"),
        unit="x",
        by_cpu=lambda results: results.compared("connections/enfilade-8", "connections/enfilade-512", by_cpu),
        at_most=True,
    ),
    _ratio("a sync tool, and the official SDK's", 4.0, "calls/enfilade-sync", "calls/sdk-sync", "x"),
    _more("a plain `def` tool, over an `async def` one", 30, "calls/enfilade-sync"),
    _more("models of pydantic, there and back, over a text", 35, "calls/enfilade-order"),
    Bar(
        what=f"{BLOCK.connections} callers of a tool that blocks, of what {MOST_THREADS} threads can do",
        bound=0.9,
        rows=("blocking/enfilade",),
        unit=" of it",
        by_rate=_scaled("blocking/enfilade", lambda mine: mine["rate"] * BLOCKED / MOST_THREADS),
    ),
    _ratio("100 tools, and 1", 0.97, "calls/enfilade-100-tools", "calls/enfilade", "x"),
    _ratio("a token that was verified, and none", 0.87, "calls/enfilade-authorized", "calls/enfilade", "x"),
    _ratio("the same, stateless revision", 0.87, "stateless/enfilade-authorized", "stateless/enfilade", "x"),
    # 12, 5 and 25 % of what a plain call took when these were set, which was 116 µs.
    _observed("a line of JSON for each call, over none", 14, "enfilade-log-json-every-line"),
    _observed("metrics for Prometheus, over none", 6, "enfilade-metrics"),
    _observed("traces of all calls, over none", 29, "enfilade-traces"),
    _of_change("a change to 500 listeners, for each", 30, "change/enfilade"),
    _of_change("a change to 5,000 listeners, for each", 30, "change/enfilade-5000"),
    _of_change("a change to 500 listeners over Redis, for each", 40, "change/enfilade-redis"),
    _of_change("a change to 5,000 listeners over Redis, for each", 40, "change/enfilade-redis-5000"),
    _more("a progress report, over a plain call", 50, "step/enfilade"),
    _more("the same with SQLite", 170, "step/enfilade-sqlite"),
    _more("the same with Redis", 220, "step/enfilade-redis"),
    Bar(
        what=f"{MANY:,} progress reports a call, none lost",
        bound=200_000,
        rows=("progress/enfilade",),
        unit=" a second",
        by_rate=_scaled("progress/enfilade", lambda mine: mine["rate"] * MANY),
        by_cpu=_scaled("progress/enfilade", lambda mine: 1e6 / mine["cpu"] * MANY),
        digits=0,
    ),
    _of_limit("`initialize` and `notifications/initialized`", 0.40, "handshake/enfilade"),
    _of_limit("a text of 1 MiB, there and back", 0.65, "mib/enfilade"),
    Bar(
        what="the same, of the server",
        bound=3.5,
        rows=("mib/enfilade",),
        unit=" ms of CPU",
        by_cpu=_scaled("mib/enfilade", lambda mine: mine["cpu"] / 1000),
        at_most=True,
    ),
    _figure("memory of an idle session", _NOTHING, "idle/enfilade", " KiB", "session", None, digits=2),
    _figure("memory of an open GET stream", 10, "idle/enfilade", " KiB", "stream", None, digits=1),
    _figure("`import enfilade`, over bare Python", 150, "import/enfilade", " ms", "ms", "cpu_ms"),
    _figure("start to first answer, over bare Python", 250, "start/enfilade run", " ms", "ms", "cpu_ms"),
    _used("start to the first call of a tool", 270, "first-call/app.run()", " ms", "cpu_ms"),
    # Where nothing else runs them, Python with asyncio and uvicorn has 24 MiB, and cryptography takes 7.
    _used("memory (PSS) after the first call", 33, "first-call/app.run()", " MiB", "pss", digits=1),
    _used(f"{TOOLS:,} tools: register them", 500, "many/enfilade", " ms", "register_ms"),
    _used(f"{TOOLS:,} tools: from there to listening", 1_000, "many/enfilade", " ms", "start_ms"),
    _used(f"{TOOLS:,} tools: add one while it serves", 0.2, "many/enfilade", " ms", "add_ms", digits=3),
    _used(f"{TOOLS:,} tools: first page of the list", 300, "many/enfilade", " ms", "list_ms", digits=1),
    Bar(
        what="2 workers on 2 cores, and 1",
        bound=1.85,
        rows=("workers/enfilade", "workers/enfilade-2-workers"),
        unit="x",
        by_cpu=lambda results: results.compared(
            "workers/enfilade-2-workers", "workers/enfilade", lambda two, one: 2 * by_cpu(two, one)
        ),
    ),
)
