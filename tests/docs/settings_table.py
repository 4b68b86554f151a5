"""The table of settings in `docs/running.md`; `python tests/docs/settings_table.py` writes it from `Settings`.

Easy to get wrong: defaults. A time is a float, and is shown without the `.0`; a list that is empty is "none".
"""

from pathlib import Path
from typing import Any

from enfilade.settings import PREFIX, Secret, fields

PAGE = Path(__file__).resolve().parents[2] / "docs" / "running.md"
_HEAD = ["| variable | default | what it sets |", "| --- | --- | --- |"]


def shown(default: Any) -> str:
    """Return a default as the tables of the documentation show it."""
    if default in ((), "", None, Secret("")):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def rows() -> list[list[str]]:
    """Return the rows: every setting with its variable, its default and its meaning, in the order of the code."""
    return [
        [f"`{PREFIX}{name.upper()}`", shown(field.default), field.allowed.description or ""]
        for name, field in fields().items()
    ]


def write() -> None:
    """Put the table in the place of the one that the page has."""
    lines = [*PAGE.read_text(encoding="utf-8").splitlines(), ""]
    begin = lines.index(_HEAD[0])
    end = next(place for place in range(begin, len(lines)) if not lines[place].startswith("|"))
    lines[begin:end] = [*_HEAD, *(f"| {' | '.join(row)} |" for row in rows())]
    PAGE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write()
