"""Consoles of the commands: results on stdout, everything else on stderr, colours only on terminals.

Easy to get wrong: texts of a server. They may hold codes that move the cursor or rename the window, so each
passes through `printable` first, and never through rich's markup.
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


def stdout_console() -> Console:
    """Return the console for results."""
    return Console(file=sys.stdout, highlight=False)


def table_console() -> Console:
    """Return the console for tables and indented text. Files and pipes get no blanks at the ends of lines."""
    piped = not sys.stdout.isatty()
    return Console(file=cast(IO[str], _Trimmed(sys.stdout)) if piped else sys.stdout, highlight=False)


class _Trimmed:
    """A text file that drops blanks at the ends of lines as they are written."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(_TRAILING.sub("", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def stderr_console() -> Console:
    """Return the console for questions, log lines, progress and errors."""
    return Console(file=sys.stderr, highlight=False)


def printable(text: object) -> str:
    """Return a text without control characters."""
    return _CONTROLS.sub("", str(text).replace("\r\n", "\n"))


def rich_text(text: object, style: str = "") -> Text:
    """Return a text of a server for rich, without control characters and with no markup."""
    return Text(printable(text), style=style)


def print_json(console: Console, value: Any) -> None:
    """Print a value as JSON: in colour for people, exactly for programs."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if console.is_terminal:
        console.print(JSON(text, ensure_ascii=False))
    else:
        console.file.write(text + "\n")
