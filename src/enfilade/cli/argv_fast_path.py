"""Words of a command line that can only mean one thing, understood without a library.

To load typer takes as long as a web server. `enfilade run`, `enfilade run FILE` and the like need nothing of it,
so they are read here, as typer would read them; whatever else was typed is typer's: help, abbreviations,
mistakes.

Easy to get wrong: to understand too much. What is not surely right is None here, never an error.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

#: A number that every reader of numbers takes for the same.
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


def understood(
    words: Sequence[str], verb: str, options: Mapping[str, tuple[str, type | bool]]
) -> dict[str, Any] | None:
    """Return the arguments of `VERB [TARGET] [OPTION VALUE]...` by name, or None if typer should read the words.

    Args:
        words: what was typed after the command's name.
        verb: the first of them.
        options: the name of the argument and the type of its value, by what may be typed; for words that take no
            value, the value that they stand for.
    """
    expands = os.name == "nt"  # there typer puts file names in the place of patterns
    if not words or words[0] != verb or expands or "_ENFILADE_COMPLETE" in os.environ:
        return None
    found: dict[str, Any] = {}
    rest = iter(words[1:])
    for word in rest:
        name, kind = options.get(word, ("", str)) if word.startswith("-") else ("target", str)
        if isinstance(kind, bool):
            value: Any = kind
        else:
            value = _value(word if name == "target" else next(rest, ""), kind)
        if not name or name in found or value is None:
            return None
        found[name] = value
    return found


def _value(text: str, kind: type) -> Any:
    """Return the value that a text is sure to stand for; None where it might be a mistake."""
    if not text or text.startswith("-"):
        return None
    if kind is int:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
    if kind is float:
        return float(text) if _NUMBER.fullmatch(text) else None
    return text
