"""Words of a command line that can only mean one thing, understood without a library.

To load typer takes as long as a web server. `enfilade run`, `enfilade run FILE` and the like need nothing of it,
so they are read here, as typer would read them; whatever else was typed is typer's: help, abbreviations,
mistakes.

Easy to get wrong: to understand too much. What is not surely right is None here, never an error.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any


def understood(words: Sequence[str], verb: str, options: Mapping[str, tuple[str, type]]) -> dict[str, Any] | None:
    """Return the arguments of `VERB [TARGET] [OPTION VALUE]...` by name, or None if typer should read the words.

    Args:
        words: what was typed after the command's name.
        verb: the first of them.
        options: the name of the argument and its type, by what may be typed; of type bool takes no value.
    """
    expands = os.name == "nt"  # there typer puts file names in the place of patterns
    if not words or words[0] != verb or expands or "_ENFILADE_COMPLETE" in os.environ:
        return None
    found: dict[str, Any] = {}
    rest = iter(words[1:])
    for word in rest:
        name, kind = options.get(word, ("", str)) if word.startswith("-") else ("target", str)
        value = _value(word if name == "target" else next(rest, "") if kind is not bool else None, kind)
        if not name or name in found or value is None:
            return None
        found[name] = value
    return found


def _value(text: str | None, kind: type) -> Any:
    """Return the value that a text is sure to stand for; None where it might be a mistake."""
    if text is None:
        return True
    if not text or text.startswith("-"):
        return None
    if kind is int:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
    return text
