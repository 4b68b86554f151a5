"""What a docstring says: about the function, and about each parameter (Google, NumPy, Sphinx and epydoc style).

Easy to get wrong: text that is lost. A model calls a tool by what stands under `Returns:`, `Examples:` or in a
last paragraph. So only the entries of parameters are cut out, and all else stays where it is, also within a
section of parameters: a sentence between two entries, an entry for `**kwargs`. Libraries that parse docstrings
do not say which lines an entry had, and drop what they do not know; that is why none is used here.
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any, Final, NamedTuple

from enfilade.startup.lazy import lazy_pattern

_SECTION: Final = r"(?:args|arguments|params|parameters|keyword args|keyword arguments|other parameters)"
_NAMES: Final = r"(?P<names>\*{0,2}[^\W\d]\w*(?:\s*,\s*\*{0,2}[^\W\d]\w*)*)"
_FIELD: Final = r"[:@](?P<kind>param|parameter|arg|argument|key|keyword|type)\b"
_MAY_HAVE_PARAMETERS: Final = lazy_pattern(
    rf"^(?:{_SECTION}[ \t]*:?[ \t]*$|{_FIELD})", re.IGNORECASE | re.MULTILINE
)
_GOOGLE: Final = lazy_pattern(rf"{_SECTION}[ \t]*:[ \t]*", re.IGNORECASE)
_NUMPY: Final = lazy_pattern(rf"{_SECTION}[ \t]*", re.IGNORECASE)
_UNDERLINE: Final = lazy_pattern(r"-{3,}[ \t]*")
# Some write the entries as a list in Markdown: "- `a` (int): the first".
_GOOGLE_ENTRY: Final = lazy_pattern(
    rf"(?:[-*•][ \t]+)?(?P<mark>\*\*|`|){_NAMES}(?P=mark)[ \t]*(?:\([^\n]*?\)[ \t]*)?:(?=\s|$)(?P<text>.*)"
)
_NUMPY_ENTRY: Final = lazy_pattern(rf"{_NAMES}[ \t]*(?P<type>:.*)?")
# ":param int a: text", "@param a: text"; the last word before the second colon is the name.
_FIELD_ENTRY: Final = lazy_pattern(rf"{_FIELD}[^:\n]*?(?P<names>[^\s:]+)[ \t]*:(?P<text>.*)", re.IGNORECASE)
_ANY_FIELD: Final = lazy_pattern(r"[:@]\w[^:\n]*:")


class Docstring(NamedTuple):
    """The two things a tool takes from a docstring."""

    description: str
    parameters: dict[str, str]


class _Lines:
    """The lines of a docstring, of which those of parameters are cut out."""

    def __init__(self, text: str) -> None:
        self.parameters: dict[str, str] = {}
        self._lines: list[str | None] = [*text.split("\n")]

    def __len__(self) -> int:
        return len(self._lines)

    def text(self, line: int) -> str:
        """Return a line without its indentation; nothing for one that was cut out, or is past the end."""
        return (self._lines[line] or "").strip() if line < len(self) else ""

    def indent(self, line: int) -> int:
        """Return by how many characters a line is indented; -1 for a blank one."""
        raw = self._lines[line] or ""
        return len(raw) - len(raw.lstrip()) if raw.strip() else -1

    def end_of_block(self, start: int, indent: int) -> int:
        """Return the line after the last of those from `start` on that are indented further than `indent`."""
        end = start
        for line in range(start, len(self)):
            if self.indent(line) > indent:
                end = line + 1
            elif self.text(line):
                break
        return end

    def take(self, names: str, first: str, start: int, end: int) -> None:
        """Cut an entry out and keep its text for its parameters.

        Args:
            names: of its parameters, with commas between them.
            first: the text on its first line.
            start: its first line.
            end: the line after its last.
        """
        words = " ".join([first, *(self.text(line) for line in range(start + 1, end))]).split()
        for name in names.split(",") if words else ():
            self.parameters[name.strip()] = " ".join(words)
        self.cut(start, end)

    def cut(self, start: int, end: int) -> None:
        """Cut lines out."""
        self._lines[start:end] = [None] * (end - start)

    def rest(self) -> str:
        """Return what was not cut out, without blank lines that would now follow each other."""
        rest: list[str] = []
        at_seam = False
        for line in self._lines:
            if line is None:
                at_seam = True
            elif line.strip() or not at_seam or (rest and rest[-1].strip()):
                rest.append(line)
                at_seam = at_seam and not line.strip()
        return "\n".join(rest).strip()


def read_docstring(text: str | None) -> Docstring:
    """Return the description and the parameters' descriptions; whatever is no entry of one is description."""
    clean = inspect.cleandoc(text) if text else ""
    if not _MAY_HAVE_PARAMETERS.search(clean):
        return Docstring(clean, {})
    lines = _Lines(clean)
    for line in range(len(lines)):
        if lines.indent(line) == 0:
            _google_section(lines, line)
            _numpy_section(lines, line)
            _field(lines, line)
    return Docstring(lines.rest(), lines.parameters) if lines.parameters else Docstring(clean, {})


def _google_section(lines: _Lines, heading: int) -> None:
    """Take the entries below `Args:`; their further lines are indented more than their first."""
    if not _GOOGLE.fullmatch(lines.text(heading)):
        return
    start, end = heading + 1, lines.end_of_block(heading + 1, 0)
    indent = min((lines.indent(line) for line in range(start, end) if lines.text(line)), default=0)
    for line in range(start, end):
        found = _GOOGLE_ENTRY.fullmatch(lines.text(line)) if lines.indent(line) == indent else None
        if found and not found["names"].startswith("*"):
            lines.take(found["names"], found["text"], line, min(lines.end_of_block(line + 1, indent), end))
    if not any(map(lines.text, range(start, end))):
        lines.cut(heading, start)


def _numpy_section(lines: _Lines, heading: int) -> None:
    """Take the entries below an underlined `Parameters`, as far as there are any.

    An entry has an indented text below it or ` : ` in it; a paragraph that happens to follow has neither.
    """
    if not (_NUMPY.fullmatch(lines.text(heading)) and _UNDERLINE.fullmatch(lines.text(heading + 1))):
        return
    start = line = heading + 2
    while line < len(lines):
        found = _NUMPY_ENTRY.fullmatch(lines.text(line))
        end = lines.end_of_block(line + 1, 0)
        if lines.text(line):
            is_entry = end > line + 1 or " : " in lines.text(line)
            if found is None or not is_entry or _UNDERLINE.fullmatch(lines.text(line + 1)):
                break
            if not found["names"].startswith("*"):
                lines.take(found["names"], "", line, end)
        line = max(end, line + 1)
    if not any(map(lines.text, range(start, line))):
        lines.cut(heading, start)


def _field(lines: _Lines, start: int) -> None:
    """Take `:param a: text` or `@param a: text` with the lines that go on; the type alone is only cut out."""
    found = _FIELD_ENTRY.fullmatch(lines.text(start))
    if found is None:
        return
    end = start + 1
    while lines.text(end) and not _ANY_FIELD.match(lines.text(end)):
        end += 1
    end = max(end, lines.end_of_block(end, 0))
    if found["kind"].lower() == "type":
        lines.cut(start, end)
    elif not found["names"].startswith("*"):
        lines.take(found["names"], found["text"], start, end)


def docstring_of(fn: Any) -> str | None:
    """Return the docstring that was written for `fn`: never that of `functools.partial`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.isroutine(fn):
        return inspect.getdoc(fn)
    return type(fn).__call__.__doc__ or type(fn).__doc__
