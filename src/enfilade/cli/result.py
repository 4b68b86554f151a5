"""The result of a tool as text: structured content as JSON, media as files or as a summary.

Easy to get wrong: printing a value twice. Structured content comes with a text of the same value.
"""

import base64
import json
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from enfilade.cli.console import print_json, printable, rich_text

Block = Mapping[str, Any]


class ResultPrinter:
    """Prints the result of a tool.

    Args:
        console: for stdout.
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

    def _block(self, block: Block) -> None:
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
