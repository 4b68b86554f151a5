"""How large the results of a tool may be, as an author states it, and what happens to larger ones.

Easy to get wrong: tokens. Each model counts its own, so they are estimated: four bytes of UTF-8 count as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec

from enfilade.primitives.options import OnOverflow

#: Bytes that count as one token.
TOKEN_BYTES: Final = 4

#: The least that a result may have, so that there is room to say what is left out.
LEAST: Final = 200

_SIZE: Final = re.compile(r"\s*([0-9]{1,12})\s*(bytes|tokens)?\s*")


class ResultBudget(msgspec.Struct, frozen=True):
    """The budget of a result.

    Attributes:
        size: most bytes of its content, and of its structured content.
        on_overflow: what happens to a larger one.
    """

    size: int
    on_overflow: OnOverflow = "error"


def read_budget(label: str, options: Mapping[str, Any]) -> ResultBudget | None:
    """Return the budget that options state; None if they state none.

    Args:
        label: what errors call the tool or the app.
        options: those that were given.

    Raises:
        TypeError: an option is of another type.
        ValueError: an option has a value that it cannot have, or no effect.
    """
    size, action = options.get("max_result"), options.get("on_overflow")
    if size is None:
        if action is not None:
            raise ValueError(f"{label}: on_overflow without a limit: give max_result= as well")
        return None
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(
            f'{label}: max_result is a number of bytes, or a text such as "2000 tokens", not {size!r}'
        )
    if action is not None and action not in get_args(OnOverflow):
        raise ValueError(f"{label}: on_overflow is 'error', 'truncate' or 'link', not {action!r}")
    try:
        count = read_size(size)
    except ValueError as error:
        raise ValueError(f"{label}: max_result: {error}") from None
    return ResultBudget(count, action or "error")


def read_size(size: int | str) -> int:
    """Return a size in bytes, which may be given as text: `4000`, `4000 bytes`, `1000 tokens`.

    Raises:
        ValueError: it is no size, or too small.
    """
    match = _SIZE.fullmatch(str(size))
    if match is None:
        raise ValueError(f'a size is written 8000, "8000 bytes" or "2000 tokens", not {size!r}')
    count = int(match[1]) * (TOKEN_BYTES if match[2] == "tokens" else 1)
    if count < LEAST:
        raise ValueError(f"the least is {LEAST} bytes or {LEAST // TOKEN_BYTES} tokens, not {size!r}")
    return count
