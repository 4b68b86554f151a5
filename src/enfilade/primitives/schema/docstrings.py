"""Splits a docstring into descriptions of the function and its parameters (Google, NumPy, Sphinx, epydoc style).

Easy to get wrong: lost text. A model needs what is under `Returns:`, `Examples:` or in a last paragraph. So only
the entries of parameters are cut out, and everything else stays where it is, also within a section of parameters:
a sentence between two entries, an entry for `**kwargs` or for a name that is no parameter. Text between
Markdown's fences is an example. Libraries that parse docstrings do not tell which lines an entry had and drop
what they do not know, so none is used here.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from enfilade.primitives.schema.annotations import is_bare
from enfilade.primitives.values.json_encoding import is_unicode
from enfilade.startup.lazy import lazy_pattern

if TYPE_CHECKING:
    from enfilade.primitives.schema.signature import Signature

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
_FENCE: Final = lazy_pattern(r"[ \t]*(`{3,}|~{3,})")
_ANY_FIELD: Final = lazy_pattern(r"[:@]\w[^:\n]*:")


class Docstring(NamedTuple):
    """The description of a function, and those of its parameters by name."""

    description: str
    parameters: dict[str, str]


class LazyDocstring:
    """The docstring of a function, which is read when it is needed.

    Args:
        fn: the function.
        names: the parameters whose entries are cut out of its description.

    Attributes:
        is_sendable: whether JSON can hold all of it.
    """

    def __init__(self, fn: Any, names: Collection[str]) -> None:
        self._names = names
        self._is_raw = is_bare(fn) and isinstance(fn.__doc__, str)
        self._text: str | None = fn.__doc__ if self._is_raw else docstring_of(fn)
        self.is_sendable = self._text is None or is_unicode(self._text)

    @functools.cached_property
    def _read(self) -> Docstring:
        text = self._text
        return read_docstring(inspect.cleandoc(text) if self._is_raw and text else text, self._names)

    @property
    def description(self) -> str:
        """The description of the function."""
        return self._read.description

    @property
    def parameters(self) -> dict[str, str]:
        """The descriptions of its parameters, by name."""
        return self._read.parameters


class _Lines:
    """The lines of a docstring, from which the entries of parameters are cut out."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.parameters: dict[str, str] = {}
        self._names = names
        self._lines: list[str | None] = [*text.split("\n")]
        self._fenced = frozenset(_fenced_lines(text.split("\n")))

    def __len__(self) -> int:
        return len(self._lines)

    def text(self, line: int) -> str:
        """Return a line without its indentation; an empty text for one that is cut out or past the end."""
        return (self._lines[line] or "").strip() if line < len(self) else ""

    def indent(self, line: int) -> int:
        """Return by how many characters a line is indented; -1 for a blank one."""
        raw = self._lines[line] or ""
        return len(raw) - len(raw.lstrip()) if raw.strip() else -1

    def is_heading(self, line: int) -> bool:
        """Return whether a section or a field may begin on a line: it is neither indented nor in an example."""
        return self.indent(line) == 0 and line not in self._fenced

    def describes(self, names: str) -> bool:
        """Return whether at least one of the names of an entry, with commas between them, is a parameter."""
        return any(name.strip() in self._names for name in names.split(","))

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
        """Store the text of an entry for its parameters, and cut the entry out unless it has other names as well.

        Args:
            names: of its parameters, with commas between them.
            first: the text on its first line.
            start: its first line.
            end: the line after its last.
        """
        lines = [first, *(self.text(line) for line in range(start + 1, end))]
        text = " ".join(" ".join(lines).split())
        entry_names = [name.strip() for name in names.split(",")]
        own_names = [name for name in entry_names if name in self._names]
        if text:
            self.parameters.update(dict.fromkeys(own_names, text))
        if len(own_names) == len(entry_names):
            self.cut(start, end)

    def cut(self, start: int, end: int) -> None:
        """Remove lines."""
        self._lines[start:end] = [None] * (end - start)

    def remaining_text(self) -> str:
        """Return the lines that were not cut out, without double blank lines where some were."""
        lines: list[str] = []
        at_seam = False
        for line in self._lines:
            if line is None:
                at_seam = True
            elif line.strip() or not at_seam or (lines and lines[-1].strip()):
                lines.append(line)
                at_seam = at_seam and not line.strip()
        return "\n".join(lines).strip()


def _fenced_lines(lines: Sequence[str]) -> Iterator[int]:
    """Yield the numbers of the lines within Markdown's fences, which are included."""
    start, fence = 0, ""
    for number, line in enumerate(lines):
        match = _FENCE.match(line)
        if match and not fence:
            start, fence = number, match[1]
        elif match and match[1].startswith(fence) and not line.strip().strip(fence[0]):
            yield from range(start, number + 1)
            fence = ""


def read_docstring(text: str | None, names: Collection[str]) -> Docstring:
    """Return the descriptions in a docstring; all text that is not in an entry of a parameter is the function's.

    Args:
        text: the docstring.
        names: the parameters whose entries are cut out.
    """
    clean = inspect.cleandoc(text) if text else ""
    if not _MAY_HAVE_PARAMETERS.search(clean):
        return Docstring(clean, {})
    lines = _Lines(clean, names)
    for line in range(len(lines)):
        if lines.is_heading(line):
            _google_section(lines, line)
            _numpy_section(lines, line)
            _field(lines, line)
    return Docstring(lines.remaining_text(), lines.parameters)


def _google_section(lines: _Lines, heading: int) -> None:
    """Take the entries below `Args:`; their further lines are indented more than their first."""
    if not _GOOGLE.fullmatch(lines.text(heading)):
        return
    start, end = heading + 1, lines.end_of_block(heading + 1, 0)
    if end == start:
        end = _end_of_unindented(lines, start)
    indent = min((lines.indent(line) for line in range(start, end) if lines.text(line)), default=0)
    for line in range(start, end):
        entry = _GOOGLE_ENTRY.fullmatch(lines.text(line)) if lines.indent(line) == indent else None
        if entry and lines.describes(entry["names"]):
            lines.take(entry["names"], entry["text"], line, min(lines.end_of_block(line + 1, indent), end))
    if end > start and not any(map(lines.text, range(start, end))):
        lines.cut(heading, start)


def _end_of_unindented(lines: _Lines, start: int) -> int:
    """Return the line after the last entry of parameters, where entries are indented no more than their heading.

    They are in a docstring that begins with `Args:`, whose first line says nothing about indentation.
    """
    line, end = start, start
    while line < len(lines):
        entry = _GOOGLE_ENTRY.fullmatch(lines.text(line))
        if lines.text(line) and not (entry and lines.describes(entry["names"])):
            break
        if entry:
            end = lines.end_of_block(line + 1, 0)
        line = max(line + 1, end)
    return end


def _numpy_section(lines: _Lines, heading: int) -> None:
    """Take the entries below an underlined `Parameters`.

    An entry has an indented text below it or ` : ` in it; a paragraph that follows the section has neither.
    """
    if not (_NUMPY.fullmatch(lines.text(heading)) and _UNDERLINE.fullmatch(lines.text(heading + 1))):
        return
    start = line = heading + 2
    while line < len(lines):
        entry = _NUMPY_ENTRY.fullmatch(lines.text(line))
        end = lines.end_of_block(line + 1, 0)
        if lines.text(line):
            is_entry = end > line + 1 or " : " in lines.text(line)
            if entry is None or not is_entry or _UNDERLINE.fullmatch(lines.text(line + 1)):
                break
            if lines.describes(entry["names"]):
                lines.take(entry["names"], "", line, end)
        line = max(end, line + 1)
    if line > start and not any(map(lines.text, range(start, line))):
        lines.cut(heading, start)


def _field(lines: _Lines, start: int) -> None:
    """Take `:param a: text` or `@param a: text` with its further lines; `:type a:` is only cut out."""
    entry = _FIELD_ENTRY.fullmatch(lines.text(start))
    if entry is None:
        return
    end = start + 1
    while lines.text(end) and not _ANY_FIELD.match(lines.text(end)):
        end += 1
    end = max(end, lines.end_of_block(end, 0))
    if not lines.describes(entry["names"]):
        return
    if entry["kind"].lower() == "type":
        lines.cut(start, end)
    else:
        lines.take(entry["names"], entry["text"], start, end)


def documented_names(signature: Signature, *, published: bool = True) -> frozenset[str]:
    """Return the names of the parameters whose entries are cut out of the description.

    Args:
        signature: the signature of the function.
        published: whether the parameters that callers fill publish their entries themselves.
    """
    hidden = (*signature.contexts, *(name for name, _ in signature.dependencies))
    return frozenset((*hidden, *(parameter.name for parameter in signature.parameters if published)))


def docstring_of(fn: Any) -> str | None:
    """Return the docstring of `fn`, and never that of `functools.partial`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.isroutine(fn):
        return inspect.getdoc(fn)
    return type(fn).__call__.__doc__ or type(fn).__doc__
