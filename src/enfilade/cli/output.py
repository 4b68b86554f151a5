"""Output of the commands: results on stdout, everything else on stderr, colours only on terminals.

Easy to get wrong:
- Texts of a server. They may hold codes that move the cursor or rename the window, so each passes through
  `printable` first, and never through rich's markup.
- Printing a value twice. Structured content of a result comes with a text of the same value.
"""

import base64
import json
import mimetypes
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, cast

from rich.console import Console
from rich.json import JSON
from rich.text import Text

JsonBlock = Mapping[str, Any]

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


class ResultPrinter:
    """Prints the result of a tool as text: structured content as JSON, media as files or as a summary.

    Args:
        folder: for the files of media; None to write none.
        name: first part of the names of these files.
    """

    def __init__(self, console: Console, folder: Path | None, name: str) -> None:
        self._console = console
        self._folder = folder
        self._name = "".join(c if c.isalnum() else "-" for c in name)
        self._file_count = 0

    def show(self, result: Mapping[str, Any]) -> None:
        """Print the content of a result; structured content replaces the text that repeats it."""
        structured = result.get("structuredContent")
        is_printed = False
        for block in result.get("content", ()):
            if structured is not None and block["type"] == "text" and _repeats(block["text"], structured):
                if not is_printed:
                    self._structured(structured)
                is_printed = True
            else:
                self._block(block)
        if structured is not None and not is_printed:
            self._structured(structured)

    def _structured(self, structured: Any) -> None:
        alone = structured.get("result") if isinstance(structured, dict) and len(structured) == 1 else None
        if isinstance(alone, str):
            self._text(alone)
        else:
            print_json(self._console, structured if alone is None else alone)

    def _text(self, text: str) -> None:
        self._console.print(rich_text(text), soft_wrap=True)

    def _block(self, block: JsonBlock) -> None:
        kind = block["type"]
        if kind == "text":
            self._text(block["text"])
        elif kind in ("image", "audio"):
            self._data(kind, block["data"], block.get("mimeType"))
        elif kind == "resource" and "blob" in block["resource"]:
            self._data(
                printable(block["resource"]["uri"]), block["resource"]["blob"], block["resource"].get("mimeType")
            )
        elif kind == "resource":
            self._text(block["resource"].get("text", ""))
        elif kind == "resource_link":
            self._text(f"{block.get('title') or block['name']}: {block['uri']}")
        else:
            print_json(self._console, block)

    def _data(self, title: str, encoded: str, mime_type: str | None) -> None:
        data = base64.b64decode(encoded)
        summary = f"[{title}, {printable(mime_type or 'of unknown type')}, {len(data):,} bytes"
        if self._folder is None:
            self._text(f"{summary}; --save DIR writes it to a file]")
            return
        self._file_count += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        suffix = mimetypes.guess_extension((mime_type or "").partition(";")[0]) or ".bin"
        path = self._folder / f"{self._name}-{self._file_count}{suffix}"
        path.write_bytes(data)
        self._text(f"{summary}: {path}]")


def _repeats(text: str, structured: Any) -> bool:
    """Whether a text has the same value as the structured content."""
    alone = structured.get("result") if isinstance(structured, dict) else None
    if text == alone:
        return True
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return value in (structured, alone)
