"""What a docstring says: about the function, and about each parameter (Google, NumPy, Sphinx and epydoc style).

Easy to get wrong: most docstrings have no section for parameters, and then their text is taken as it stands.
Only the others are parsed, because a parser of docstrings drops what it does not know, and because importing
it takes longer than this room.
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any, Final, NamedTuple

_HAS_PARAMETERS: Final = re.compile(
    r"^\s*(?:"
    r"(?:args|arguments|params|parameters|keyword args|keyword arguments|other parameters|attributes)\s*:?\s*$"
    r"|[:@](?:param|parameter|arg|argument|key|keyword)\b"
    r")",
    re.IGNORECASE | re.MULTILINE,
)


class Docstring(NamedTuple):
    """The two things a tool takes from a docstring."""

    description: str
    parameters: dict[str, str]


def read_docstring(text: str | None) -> Docstring:
    """Return the description and the parameters' descriptions; whatever cannot be parsed is all description."""
    clean = inspect.cleandoc(text) if text else ""
    if not _HAS_PARAMETERS.search(clean):
        return Docstring(clean, {})
    import docstring_parser

    try:
        parsed = docstring_parser.parse(clean)
    except docstring_parser.ParseError:
        return Docstring(clean, {})
    parameters = {
        # "*args" and "x, y" are legal in NumPy style.
        name.strip().lstrip("*"): " ".join(each.description.split())
        for each in parsed.params
        if each.description
        for name in each.arg_name.split(",")
    }
    if not parameters:
        return Docstring(clean, {})
    return Docstring((parsed.description or "").strip(), parameters)


def docstring_of(fn: Any) -> str | None:
    """Return the docstring that was written for `fn`: never that of `functools.partial`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.isroutine(fn):
        return inspect.getdoc(fn)
    return type(fn).__call__.__doc__ or type(fn).__doc__
