"""Durations as an author states them: seconds, or a number and a unit.

Units are those of rates (`60/minute`).
"""

from __future__ import annotations

import math
import re
from typing import Final

#: Units, with their seconds, and their short forms.
UNITS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
SHORT_UNITS: Final = {"s": "second", "sec": "second", "min": "minute", "m": "minute", "h": "hour", "d": "day"}

_DURATION: Final = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([a-z]+)\s*")
_USAGE: Final = 'a number of seconds, or a text such as "5 minutes"; units are second, minute, hour and day'


def unit_of(word: str) -> str | None:
    """Return the unit that a word stands for, such as `minute` for `min` and `minutes`; None if there is none."""
    unit = SHORT_UNITS.get(word, word.removesuffix("s"))
    return unit if unit in UNITS else None


def read_duration(label: str, name: str, value: object, longest: float) -> float:
    """Return the seconds of a duration.

    Args:
        label: what errors call the tool.
        name: of the option.
        value: what was given for it.
        longest: most seconds.

    Raises:
        TypeError: it is neither a number nor a text.
        ValueError: it is no duration, or too long; the text says how to write it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"{label}: {name} is {_USAGE}; not {value!r}")
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.lower())
        unit = None if match is None else unit_of(match[2])
        if match is None or unit is None:
            raise ValueError(f"{label}: {name} is {_USAGE}; not {value!r}")
        seconds = float(match[1]) * UNITS[unit]
    else:
        seconds = float(value)
    if not 0 < seconds <= longest or math.isnan(seconds):
        raise ValueError(f"{label}: {name} is above 0 and at most {duration_text(longest)}, not {value!r}")
    return seconds


def duration_text(seconds: float) -> str:
    """Return a duration in words, in the largest unit of which it is a whole number."""
    for unit in reversed(UNITS):
        count = seconds / UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)} {unit if count == 1 else unit + 's'}"
    return f"{seconds:g} seconds"
