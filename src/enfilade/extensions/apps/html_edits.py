"""Edits of an HTML document by position: what is not edited stays as it was written, also if it is wrong.

Easy to get wrong: the text of scripts and styles. The parser reports it in several pieces, so it is taken from
the end of the start tag to the end tag.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from html.parser import HTMLParser
from typing import Final

_ATTRIBUTE: Final = re.compile(
    r"""[\s"'/](?P<name>[^\s"'<>/=]+)(?:\s*=\s*(?P<value>"[^"]*"|'[^']*'|[^\s"'=<>`]+))?"""
)
_RAW: Final = ("script", "style")


class Tag:
    """A start tag as it is written.

    Attributes:
        raw: its text.
        start: its position in the document; `end` is that behind it.
    """

    def __init__(self, raw: str, start: int) -> None:
        self.raw = raw
        self.start = start
        self.end = start + len(raw)

    def changed(self, values: dict[str, str | None]) -> str:
        """Return the tag with other values of attributes, and without those whose value is None."""

        def replaced(match: re.Match[str]) -> str:
            name = match["name"].lower()
            if name not in values:
                return match[0]
            value = values[name]
            return "" if value is None else f" {attribute(match['name'], value)}"

        name = re.match(r"<[^\s/>]+", self.raw)
        head = name[0] if name else ""
        return head + _ATTRIBUTE.sub(replaced, self.raw[len(head) :])


def attribute(name: str, value: str) -> str:
    """Return an attribute as it is written."""
    return f'{name}="{html.escape(value, quote=True)}"'


class HtmlEdits(HTMLParser):
    """Reads a document and edits it; subclasses have the methods that begin with `on_`.

    Args:
        text: the document.

    Attributes:
        text: as it was.
        edits: where each begins and ends, and what stands there instead; they do not overlap.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.text = text
        self.edits: list[tuple[int, int, str]] = []
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._raw: tuple[str, int] | None = None  # the script or style that is open, and where its text begins

    def document(self) -> str:
        """Return the text with all edits."""
        self.feed(self.text)
        self.close()
        self.finish()
        pieces, end = list[str](), 0
        for start, stop, replacement in sorted(self.edits, key=lambda edit: edit[:2]):
            pieces += [self.text[end:start], replacement]
            end = stop
        return "".join([*pieces, self.text[end:]])

    def replace(self, written: Tag, replacement: str) -> None:
        """Put something in the place of a start tag."""
        self.edits.append((written.start, written.end, replacement))

    def line_of(self, position: int) -> int:
        """Return the number of the line at a position."""
        return bisect_right(self._lines, position)

    def on_start(self, tag: str, written: Tag, attributes: dict[str, str]) -> None:
        """Handle a start tag."""

    def on_raw(self, tag: str, start: int, end: int) -> None:
        """Handle the text of a script or style, by its position."""

    def on_end(self, tag: str, start: int, end: int) -> None:
        """Handle an end tag, by its position."""

    def finish(self) -> None:
        """Handle the end of the document."""

    # -- what the parser calls ---------------------------------------------------------------------------------

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        written = Tag(self.get_starttag_text() or "", self._position())
        self._raw = (tag, written.end) if tag in _RAW else None
        self.on_start(tag, written, {name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        start, raw = self._position(), self._raw
        if raw is not None and raw[0] == tag:
            self.on_raw(tag, raw[1], start)
            self._raw = None
        self.on_end(tag, start, self.text.find(">", start) + 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # the slash at its end means nothing in HTML
        self._raw = None

    def _position(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column
