"""What a run has found, as text: a table of the bars, a table for each group, and the page of the documentation.

The easy thing to get wrong is the page: only what stands between its two marks is written anew, the rest is
written by people.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from bars import BARS, Bar
from results import Results, Spread, by_cpu, by_rate
from rows import GROUPS, LIMIT, ROWS, Row

BEGIN: Final = "<!-- written by `make bench` from here -->"
END: Final = "<!-- to here -->"
_MISSING: Final = "–"


def bars_table(results: Results) -> str:
    """Return the bars that were measured."""
    rows = [_bar_row(bar, results) for bar in BARS if bar.held(results) is not None]
    return _table(("work", "bar", "by time or calls/s", "by server CPU", "held"), rows)


def _bar_row(bar: Bar, results: Results) -> list[str]:
    cells = [_text(figure, bar.digits) for figure in bar.readings(results)]
    return [bar.what, bar.wanted(), *cells, "yes" if bar.held(results) else "**no**"]


def broken_bars(results: Results) -> list[Bar]:
    """Return the bars that do not hold, those among them whose rows were tried and failed."""
    return [bar for bar in BARS if bar.held(results) is False]


def group_tables(results: Results, all_rows: Sequence[Row] = ROWS) -> str:
    """Return a table for each group."""
    parts = []
    for group, title in GROUPS.items():
        rows = [row for row in all_rows if row.group == group]
        rows = [row for row in rows if row.name in results.figures or row.name in results.problems]
        if rows:
            heads, cells = _COLUMNS.get(group, _CALLS)
            lines = [[row.server, *cells(results, row)] for row in rows if results.measured(row.name)]
            parts.append(f"#### {title[0].upper()}{title[1:]}\n\n{_table(('server', *heads), lines)}")
            invalid = [row for row in rows if row.name in results.problems]
            parts += [f"{row.server} does not count: {_reason(results, row)}." for row in invalid]
    return "\n\n".join(parts)


def _reason(results: Results, row: Row) -> str:
    return results.problems[row.name].splitlines()[0].rstrip(".:")


Cells = Callable[[Results, Row], list[str]]


def _call_cells(results: Results, row: Row) -> list[str]:
    limit = f"{row.group}/{LIMIT}"
    latencies = [results.spread(row.name, name) for name in ("p50", "p99")]
    return [
        _text(results.spread(row.name, "rate")),
        _text(results.spread(row.name, "cpu"), 1),
        " / ".join(f"{each.median:.2f}" for each in latencies if each),
        _text(results.compared(row.name, limit, by_rate), 2),
        _text(results.compared(row.name, limit, by_cpu), 2),
    ]


def _cells(*columns: tuple[str, int]) -> Cells:
    return lambda results, row: [_text(results.spread(row.name, name), digits) for name, digits in columns]


_CALLS: Final[tuple[Sequence[str], Cells]] = (
    ("calls/s", "server CPU, µs a call", "p50 / p99, ms", "of the limit, calls/s", "of the limit, CPU"),
    _call_cells,
)
_TIMES: Final[tuple[Sequence[str], Cells]] = (("ms", "ms of CPU"), _cells(("ms", 0), ("cpu_ms", 0)))
_CONNECTIONS: Final[tuple[Sequence[str], Cells]] = (
    ("calls/s", "server CPU, µs a call"),
    _cells(("rate", 0), ("cpu", 1)),
)


def _worker_cells(results: Results, row: Row) -> list[str]:
    more = results.compared(row.name, f"{row.group}/enfilade", by_rate)
    return [*_CONNECTIONS[1](results, row), _text(more, 2)]


_WORKERS: Final[tuple[Sequence[str], Cells]] = ((*_CONNECTIONS[0], "of 1 worker, calls/s"), _worker_cells)
#: What the tables of groups have for columns, where it is not calls.
_COLUMNS: Final = {
    "connections": _CONNECTIONS,
    "workers": _WORKERS,
    "idle": (("KiB a session", "KiB a GET stream"), _cells(("session", 2), ("stream", 1))),
    "change": (("server CPU, µs a listener",), _cells(("cpu", 1))),
    "import": _TIMES,
    "start": _TIMES,
    "first-call": (("ms of CPU", "MiB"), _cells(("cpu_ms", 0), ("pss", 1))),
    "many": (
        ("register, ms", "start, ms", "add, ms", "first page, ms"),
        _cells(("register_ms", 0), ("start_ms", 0), ("add_ms", 3), ("list_ms", 1)),
    ),
}


def _text(figure: Spread | None, digits: int = 0) -> str:
    return _MISSING if figure is None else figure.text(digits)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose columns stand in line."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def page(results: Results) -> str:
    """Return what belongs between the marks."""
    picture = "![Calls for each second of server CPU, and Enfilade as a share of the limit](performance.svg)"
    about = "\n".join(f"- {name}: {value}" for name, value in results.about.items())
    tables = ["### Bars", bars_table(results), "### All figures", group_tables(results)]
    return "\n\n".join([picture, about, *tables])


def write_page(path: Path, results: Results) -> None:
    """Write the figures into a page, between its marks.

    Raises:
        ValueError: it has no such marks.
    """
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path.name} has no marks to write between")
    path.write_text(f"{before}{BEGIN}\n\n{page(results)}\n\n{END}{after}", encoding="utf-8")
