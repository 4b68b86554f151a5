"""Limits of calls as an author states them: how many at the same time, how many in a period, and for whom.

Durations as authors state them are read here as well: seconds, or a number and a unit, which is one of those of
rates (`60/minute`).

Easy to get wrong: an option without effect. `limit_per=` without a limit would be read as one, so it is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec

from enfilade.primitives.options import LimitPer, OnLimit

#: Seconds that a call waits for a limit at most, unless its author says otherwise; and the most that can be said.
MAX_WAIT: Final = 30.0
LONGEST_WAIT: Final = 3600.0

#: Units, with their seconds, and their short forms.
UNITS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
SHORT_UNITS: Final = {"s": "second", "sec": "second", "min": "minute", "m": "minute", "h": "hour", "d": "day"}

_DURATION: Final = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([a-z]+)\s*")
_DURATION_USAGE: Final = (
    'a number of seconds, or a text such as "5 minutes"; units are second, minute, hour and day'
)
_RATE: Final = re.compile(r"\s*([0-9]{1,9})\s*/\s*([a-z]+)\s*")
_USAGE: Final = '"60/minute"; the periods are second, minute, hour and day'


class Rate(msgspec.Struct, frozen=True):
    """A number of calls in a period.

    Attributes:
        count: how many.
        period: seconds.
        text: as it is said to callers, such as `60 calls a minute`.
    """

    count: int
    period: float
    text: str


class CallLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a tool or of an app.

    Attributes:
        max_concurrency: calls at the same time; None for any number.
        rate: calls in a period; None for any number.
        per: whose calls count together.
        waits: whether a call waits until there is room.
        max_wait: seconds for which it does, at most.
    """

    max_concurrency: int | None = None
    rate: Rate | None = None
    per: LimitPer = "all"
    waits: bool = True
    max_wait: float = MAX_WAIT


def read_limits(label: str, options: Mapping[str, Any]) -> CallLimits | None:
    """Return the limits that options state; None if they state none.

    Args:
        label: what errors call the tool or the app.
        options: those that were given.

    Raises:
        TypeError: an option is of another type.
        ValueError: an option has a value that it cannot have, or no effect.
    """
    given = {name: value for name, value in options.items() if value is not None}
    count, rate = given.pop("max_concurrency", None), given.pop("rate_limit", None)
    if count is None and rate is None:
        if given:
            names = " and ".join(given)
            raise ValueError(f"{label}: {names} without a limit: give rate_limit= or max_concurrency= as well")
        return None
    on_limit = _choice(label, "on_limit", given.get("on_limit", "wait"), get_args(OnLimit))
    return CallLimits(
        max_concurrency=None if count is None else _count(label, count),
        rate=None if rate is None else _rate(label, rate),
        per=_choice(label, "limit_per", given.get("limit_per", "all"), get_args(LimitPer)),
        waits=on_limit == "wait",
        max_wait=_wait(label, given["max_wait"], on_limit) if "max_wait" in given else MAX_WAIT,
    )


def read_rate(text: str) -> Rate:
    """Return the rate that a text such as `60/minute` states.

    Raises:
        ValueError: it states none; the text says how to write it.
    """
    match = _RATE.fullmatch(text.lower())
    unit = None if match is None else unit_of(match[2])
    if match is None or unit is None or int(match[1]) == 0:
        raise ValueError(f"a rate is written {_USAGE}, not {text!r}")
    count = int(match[1])
    article = "an" if unit == "hour" else "a"
    return Rate(count, UNITS[unit], f"{count} {'call' if count == 1 else 'calls'} {article} {unit}")


def _count(label: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{label}: max_concurrency is a number of calls, not {value!r}")
    if value < 1:
        raise ValueError(f"{label}: max_concurrency is at least 1, not {value!r}; leave it out for no limit")
    return value


def _rate(label: str, value: object) -> Rate:
    if not isinstance(value, str):
        raise TypeError(f"{label}: rate_limit is a text, {_USAGE}; not {value!r}")
    try:
        return read_rate(value)
    except ValueError as error:
        raise ValueError(f"{label}: rate_limit: {error}") from None


def _wait(label: str, value: object, on_limit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{label}: max_wait is a number of seconds, not {value!r}")
    if on_limit == "refuse":
        raise ValueError(f'{label}: max_wait has no effect with on_limit="refuse"; leave one of them out')
    if not 0 < value <= LONGEST_WAIT or math.isnan(value):
        raise ValueError(
            f"{label}: max_wait is above 0 and at most {LONGEST_WAIT:g} seconds, not {value!r}; to refuse at "
            'once, write on_limit="refuse"'
        )
    return float(value)


def _choice(label: str, name: str, value: object, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        *most, last = map(repr, choices)
        raise ValueError(f"{label}: {name} is {', '.join(most)} or {last}, not {value!r}")
    return value


# -- durations -------------------------------------------------------------------------------------------------


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
        raise TypeError(f"{label}: {name} is {_DURATION_USAGE}; not {value!r}")
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.lower())
        unit = None if match is None else unit_of(match[2])
        if match is None or unit is None:
            raise ValueError(f"{label}: {name} is {_DURATION_USAGE}; not {value!r}")
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
