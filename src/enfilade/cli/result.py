"""What a tool returned, for people: texts as texts, structured content laid out, media kept or summed up.

Easy to get wrong: to say everything twice. Structured content comes with a text that says the same, for clients
that know no better.
"""

import base64
import json
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from enfilade.cli.console import plain, print_json, words

Block = Mapping[str, Any]


class Shown:
    """Prints results.

    Args:
        console: for stdout.
        remarks: for stderr.
        folder: where media are kept; None for nowhere.
        name: what their files are called.
    """

    def __init__(self, console: Console, remarks: Console, folder: Path | None, name: str) -> None:
        self._console = console
        self._remarks = remarks
        self._folder = folder
        self._name = "".join(c if c.isalnum() else "-" for c in name)
        self._kept = 0

    def show(self, result: Mapping[str, Any]) -> None:
        """Print the content of a result, as the protocol has it."""
        structured = result.get("structuredContent")
        said = False
        for block in result.get("content", ()):
            if structured is not None and block["type"] == "text" and _says(block["text"], structured):
                if not said:
                    self._structured(structured)
                said = True
            else:
                self._block(block)
        if structured is not None and not said:
            self._structured(structured)

    def _structured(self, structured: Any) -> None:
        alone = structured.get("result") if isinstance(structured, dict) and len(structured) == 1 else None
        if isinstance(alone, str):
            self._text(alone)
        else:
            print_json(self._console, structured if alone is None else alone)

    def _text(self, text: str) -> None:
        self._console.print(words(text), soft_wrap=True)

    def _block(self, block: Block) -> None:
        kind = block["type"]
        if kind == "text":
            self._text(block["text"])
        elif kind in ("image", "audio"):
            self._data(kind, block["data"], block.get("mimeType"))
        elif kind == "resource" and "blob" in block["resource"]:
            self._data(
                plain(block["resource"]["uri"]), block["resource"]["blob"], block["resource"].get("mimeType")
            )
        elif kind == "resource":
            self._text(block["resource"].get("text", ""))
        elif kind == "resource_link":
            self._text(f"{block.get('title') or block['name']}: {block['uri']}")
        else:
            print_json(self._console, block)

    def _data(self, what: str, encoded: str, mime_type: str | None) -> None:
        data = base64.b64decode(encoded)
        said = f"[{what}, {plain(mime_type or 'of unknown type')}, {len(data):,} bytes"
        if self._folder is None:
            self._text(f"{said}; --save DIR keeps it]")
            return
        self._kept += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        suffix = mimetypes.guess_extension((mime_type or "").partition(";")[0]) or ".bin"
        path = self._folder / f"{self._name}-{self._kept}{suffix}"
        path.write_bytes(data)
        self._text(f"{said}: {path}]")


def _says(text: str, structured: Any) -> bool:
    """Whether a text is what structured content says, too."""
    alone = structured.get("result") if isinstance(structured, dict) else None
    if text == alone:
        return True
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return found in (structured, alone)
