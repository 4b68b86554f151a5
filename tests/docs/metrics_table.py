"""The table of metrics in `docs/operating.md`; `python tests/docs/metrics_table.py` writes it from the code."""

from pathlib import Path

from enfilade.telemetry.prometheus.definitions import DEFINITIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"
_HEAD = ["| metric | type | labels | what it is |", "| --- | --- | --- | --- |"]


def rows() -> list[str]:
    """Return the rows: every metric, in the order of the code."""
    return [
        f"| `{definition.name}` | {definition.kind} | "
        f"{', '.join(f'`{label}`' for label in definition.labels) or 'none'} | {definition.help} |"
        for definition in DEFINITIONS
    ]


def lines_of_page() -> tuple[list[str], int, int]:
    """Return the lines of the page, and where the table begins and ends."""
    lines = [*PAGE.read_text(encoding="utf-8").splitlines(), ""]
    begin = lines.index(_HEAD[0])
    end = next(place for place in range(begin, len(lines)) if not lines[place].startswith("|"))
    return lines, begin + len(_HEAD), end


def write() -> None:
    """Put the table in the place of the one that the page has."""
    lines, begin, end = lines_of_page()
    lines[begin:end] = rows()
    PAGE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write()
