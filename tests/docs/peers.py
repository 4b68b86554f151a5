"""The README's table beside the peers, from the last `make bench`: `python tests/docs/peers.py` fills it in.

Easy to get wrong: a figure that looks better than it is. All of a row come from one table of
`docs/performance.md`, as it stands there, and a peer without a row there has no figure.
"""

import re
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "performance.md"

_OF_THE_LIMIT: Final = "of the limit, CPU"
_START: Final = "Process start to first answer, over bare Python"
_STATELESS: Final = "`tools/call`, stateless era (2026-07-28), JSON"
_MANY: Final = "1,000 progress reports, then the result (SSE)"
_SESSION: Final = "`tools/call`, session era, JSON"
_MEMORY: Final = "Memory of what only waits"
_EACH: Final = ("enfilade", "sdk", "fastmcp")

#: By the README's row: the table of `docs/performance.md`, its column, and the rows of Enfilade and the others.
ROWS: Final[dict[str, tuple[str, str, tuple[str, str, str]]]] = {
    "`tools/call`, in a session": (_SESSION, _OF_THE_LIMIT, ("enfilade", "sdk-json", "fastmcp-json")),
    "the same, as each is set up by default": (_SESSION, _OF_THE_LIMIT, ("enfilade", "sdk-sse", "fastmcp-sse")),
    "`tools/call`, without a session (2026-07-28)": (_STATELESS, _OF_THE_LIMIT, ("enfilade", "sdk-json", "")),
    "a progress report, then the result": ("One progress report, then the result (SSE)", _OF_THE_LIMIT, _EACH),
    "1,000 progress reports, then the result": (_MANY, _OF_THE_LIMIT, _EACH),
    "`initialize`": ("`initialize` and `notifications/initialized`", _OF_THE_LIMIT, _EACH),
    "a text of 1 MiB, there and back": ("A text of 1 MiB, there and back", _OF_THE_LIMIT, _EACH),
    "KiB of memory for an idle session": (_MEMORY, "KiB a session", _EACH),
    "KiB of memory for an open stream": (_MEMORY, "KiB a GET stream", _EACH),
    "ms to `import` it": ("`import`, over bare Python", "ms", _EACH),
    "ms from the start of the process to the first answer": (_START, "ms", ("enfilade run", "sdk", "fastmcp")),
}


def figures() -> dict[str, tuple[str, ...]]:
    """Return the figures of each row, as the README should have them; empty where a peer was not measured."""
    text = PERFORMANCE.read_text(encoding="utf-8")
    found = {}
    for row, (title, column, servers) in ROWS.items():
        (section,) = re.findall(rf"^#### {re.escape(title)}\n\n((?:\|.*\n)+)", text, re.MULTILINE)
        head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()]
        place = head.index(column)
        by_server = {cells[0]: cells[place].split(" ")[0] for cells in lines}
        found[row] = tuple(by_server[server] if server else "" for server in servers)
    return found


def filled(text: str) -> str:
    """Return the README with the figures of the last run."""
    for row, values in figures().items():
        line = f"| {row} | {' | '.join(values)} |".replace("|  |", "| |")
        text, count = re.subn(rf"^\| {re.escape(row)} \|.*$", line.replace("\\", r"\\"), text, flags=re.MULTILINE)
        assert count == 1, row
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
