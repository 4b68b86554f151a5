"""Reading a `.env` file: its variables, and the lines that set none.

Settings (`setting_sources.py`, whose `find_dotenv` finds the file) and secrets (`serving/secrets.py`) both read
it. Its lines hold secrets, so an error names the file and the number of the line, and never shows its text.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dotenv.parser import Binding


def read_dotenv(file: Path) -> Mapping[str, str | None]:
    """Return the variables of a file; None for a name without `=`. A `$` in a value stays as it is.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8; the text names it and says what to do.
    """
    return {line.key: line.value for line in _lines(file) if line.key is not None}


def lines_without_value(file: Path) -> list[int]:
    """Return the numbers of the lines, from 1, that are neither a comment nor set a variable.

    Raises:
        OSError, ValueError: as `read_dotenv`.
    """
    return [_number(line) for line in _lines(file) if line.error or (line.key and line.value is None)]


def _lines(file: Path) -> Iterator["Binding"]:
    import io

    from dotenv.parser import parse_stream  # most servers have no such file

    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8; save it as UTF-8") from None
    return parse_stream(io.StringIO(text))


def _number(line: "Binding") -> int:
    """Return the number of a line; the parser counts from the empty lines before it."""
    text = line.original.string
    return line.original.line + text[: len(text) - len(text.lstrip())].count("\n")
