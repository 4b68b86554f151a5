"""The performance tables of the README and the landing page: `python tests/docs/peers.py` fills them in.

Every figure is copied from `docs/performance.md`, with its range. A row takes all its figures from one table
there, and a server without a row in that table has no figure.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
LANDING_PAGE = ROOT / "docs" / "index.md"
PERFORMANCE = ROOT / "docs" / "performance.md"

_CPU: Final = "server CPU, µs a call"
_IN_SESSION: Final = "`tools/call`, session-based revisions, JSON"
_MEMORY: Final = "Memory of what only waits"
_SERVERS: Final = ("limit-uvicorn", "enfilade", "sdk", "fastmcp")


class Source(NamedTuple):
    """Where the figures of one row are.

    Attributes:
        section: heading of the table in `docs/performance.md`.
        column: heading of the column.
        servers: the rows of the bare web server, Enfilade, the official SDK and FastMCP; empty if there is none.
    """

    section: str
    column: str
    servers: tuple[str, str, str, str] = _SERVERS


#: Label of a row in the README → where its figures are.
ROWS: Final[dict[str, Source]] = {
    "CPU of one `tools/call` of an `async def` tool, in a session, µs": Source(
        _IN_SESSION, _CPU, ("limit-uvicorn", "enfilade", "sdk-json", "fastmcp-json")
    ),
    "the same, with each server's default settings, µs": Source(
        _IN_SESSION, _CPU, ("limit-uvicorn", "enfilade", "sdk-sse", "fastmcp-sse")
    ),
    "CPU of one `tools/call` of an `async def` tool, without a session (2026-07-28), µs": Source(
        "`tools/call`, stateless revision (2026-07-28), JSON",
        _CPU,
        ("limit-uvicorn", "enfilade", "sdk-json", "fastmcp-json"),
    ),
    "CPU of one `tools/call` of a `def` tool, in a session, µs": Source(
        _IN_SESSION, _CPU, ("limit-uvicorn", "enfilade-sync", "sdk-sync", "")
    ),
    "CPU of a call with one progress report, µs": Source("One progress report, then the result (SSE)", _CPU),
    "CPU of a call with 1,000 progress reports, µs": Source(
        "1,000 progress reports, then the result (SSE)", _CPU
    ),
    "CPU of `initialize` and `notifications/initialized`, µs": Source(
        "`initialize` and `notifications/initialized`", _CPU
    ),
    "CPU of a call with a text of 1 MiB, there and back, µs": Source("A text of 1 MiB, there and back", _CPU),
    "memory of an idle session, KiB": Source(_MEMORY, "KiB a session"),
    "memory of an open stream, KiB": Source(_MEMORY, "KiB a GET stream"),
    "time to `import` it, beyond that of Python, ms": Source("`import`, over bare Python", "ms"),
    "time from process start to the first answer, beyond that of Python, ms": Source(
        "Process start to first answer, over bare Python",
        "ms",
        ("limit-uvicorn", "enfilade run", "sdk", "fastmcp"),
    ),
}


def figures() -> dict[str, tuple[str, ...]]:
    """Return the figures of each row with their ranges, as the pages should have them; empty if not measured."""
    text = PERFORMANCE.read_text(encoding="utf-8")
    return {label: _figures_of(source, text) for label, source in ROWS.items()}


def _figures_of(source: Source, text: str) -> tuple[str, ...]:
    (section,) = re.findall(rf"^#### {re.escape(source.section)}\n\n((?:\|.*\n)+)", text, re.MULTILINE)
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()]
    column = head.index(source.column)
    by_server = {cells[0]: cells[column] for cells in lines}
    return tuple(by_server.get(server, "") for server in source.servers)


def filled(text: str) -> str:
    """Return a page with the figures of the last run in every row that it has."""
    for label, values in figures().items():
        row = f"| {label} | {' | '.join(values)} |".replace("|  |", "| |")
        text = re.sub(rf"^\| {re.escape(label)} \|.*$", row.replace("\\", r"\\"), text, flags=re.MULTILINE)
    return text


if __name__ == "__main__":
    for page in (README, LANDING_PAGE):
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
