"""Types of which it is known without pydantic that pydantic reads them, and that a JSON Schema describes them.

A tool of such types needs no validator before its first call and no schema before somebody lists it, because
nothing can be wrong with either. So a server that offers no other tools answers before it has loaded pydantic,
which takes longer than all the rest of its start.

Easy to get wrong: whatever is not surely right is not plain. A mistake in a signature must show when the tool is
registered, and it does, as everything else is built there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from enfilade.primitives.schema.signature import EMPTY, Parameter

_PLAIN: Final = (str, int, float, bool, None, NoneType, Any, list, dict)


def is_plain_parameter(parameter: Parameter) -> bool:
    """Return whether a parameter has a plain type, with nothing but texts in `Annotated`, and a plain default."""
    kind, _ = _unannotated(parameter.annotation)
    default = parameter.default
    if type(default) is float:
        return math.isfinite(default) and is_plain(kind)
    return is_plain(kind) and (default is EMPTY or type(default) in (str, int, bool, NoneType))


def is_plain(annotation: Any) -> bool:
    """Return whether a type is text, a number, a flag, null, anything, or lists, dicts and unions of these."""
    origin, of = get_origin(annotation), get_args(annotation)
    if origin is None:
        return any(annotation is each for each in _PLAIN)
    if origin is dict:
        return not of or (of[0] is str and is_plain(of[1]))
    if origin is Literal:
        return all(type(each) in (str, int, bool, NoneType) for each in of)
    return origin in (list, Union, UnionType) and all(map(is_plain, of))


def texts_of(parameter: Parameter) -> Iterator[Any]:
    """Yield what a plain parameter will bring into its schema besides its type."""
    yield from _unannotated(parameter.annotation)[1]
    if parameter.default is not EMPTY:
        yield parameter.default


def _unannotated(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a type, and the texts that were put beside it."""
    if get_origin(annotation) is Annotated:
        kind, *said = get_args(annotation)
        if all(type(each) is str for each in said):
            return kind, tuple(said)
    return annotation, ()
