"""Where commands print: results on stdout, all else on stderr, both without colour where nobody would see it.

Easy to get wrong: a server is a stranger. What it says may hold codes that move the cursor or rename the window,
so everything of it passes through `plain` first, and never through rich's markup.
"""

import json
import re
import sys
from typing import IO, Any, Final, cast

from rich.console import Console
from rich.json import JSON
from rich.text import Text

_TRAILING: Final = re.compile(r"[ \t]+(?=\n)")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def results() -> Console:
    """Return the console for what a command was asked for."""
    return Console(file=sys.stdout, highlight=False)


def tables() -> Console:
    """Return the console for tables and indented text: a file or a pipe gets no blanks at the ends of lines."""
    piped = not sys.stdout.isatty()
    return Console(file=cast(IO[str], _Trimmed(sys.stdout)) if piped else sys.stdout, highlight=False)


class _Trimmed:
    """A text file to which lines are written without blanks at their ends; the rest is the file's own."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(_TRAILING.sub("", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def remarks() -> Console:
    """Return the console for what is said along the way."""
    return Console(file=sys.stderr, highlight=False)


def plain(text: object) -> str:
    """Return a text of somebody else's without what would control the terminal."""
    return _CONTROLS.sub("", str(text).replace("\r\n", "\n"))


def words(text: object, style: str = "") -> Text:
    """Return somebody else's text for rich, which finds no markup in it."""
    return Text(plain(text), style=style)


def print_json(console: Console, value: Any) -> None:
    """Print a value as JSON: in colour for people, exactly for programs."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if console.is_terminal:
        console.print(JSON(text, ensure_ascii=False))
    else:
        console.file.write(text + "\n")
