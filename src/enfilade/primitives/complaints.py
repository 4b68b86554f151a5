"""From pydantic's validation errors to sentences that a model can act on.

`"b" is missing (expected integer); "c" is not an argument of this tool (it takes: a, b)`

Easy to get wrong: pydantic reports one error per member of a union, with the member's name in the path. Those
names are no place in what the caller sent, so they are dropped, and the errors of one place become one
sentence.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import ErrorDetails, ValidationError

from enfilade.primitives.phrases import Step, came, descend, expectation, is_secret, one_of, place

_MOST: Final = 10
# Errors for which the schema says better than pydantic what was expected.
_WRONG_TYPE: Final = ("_type", "_parsing", "enum", "literal_error", "_from_float")
_PREFIXES: Final = ("Input ", "Value error, ", "Assertion failed, ")


def complaints(
    error: ValidationError, arguments: Any, schema: Mapping[str, Any], kind: str = "tool"
) -> list[str]:
    """Return one sentence for each place that is wrong.

    Args:
        error: what pydantic reported.
        arguments: the parsed arguments, as the caller sent them.
        schema: the input schema that was published.
        kind: what the arguments are for.
    """
    by_place: dict[tuple[Step, ...], list[ErrorDetails]] = {}
    for each in error.errors(include_url=False, include_input=False):
        by_place.setdefault(path_in(arguments, each), []).append(each)
    sentences = [_sentence(path, errors, arguments, schema, kind) for path, errors in by_place.items()]
    if len(sentences) > _MOST:
        return [*sentences[:_MOST], f"and {len(sentences) - _MOST} more"]
    return sentences


def path_in(arguments: Any, error: ErrorDetails) -> tuple[Step, ...]:
    """Return the steps of an error that lead somewhere in the arguments, or to what is missing there."""
    path: list[Step] = []
    found = arguments
    for step in error["loc"]:
        if isinstance(found, dict) and step in found:
            found = found[str(step)]
        elif isinstance(found, list) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            continue  # the name of a union's member
        path.append(step)
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    return tuple(path)


def _sentence(
    path: tuple[Step, ...], errors: list[ErrorDetails], arguments: Any, schema: Mapping[str, Any], kind: str
) -> str:
    kinds = {each["type"] for each in errors}
    if not path:
        return errors[0]["msg"].replace(
            "Input should be an object", f"they should be an object, got {came(arguments)}"
        )
    if kinds == {"extra_forbidden"}:
        return _unknown(path, arguments, schema, kind)
    part = descend(schema, path, schema)
    expected = expectation(part, schema) if part is not None else ""
    if kinds == {"missing"}:
        return f"{place(path)} is missing" + (f" (expected {expected})" if expected else "")
    found, known = _value_at(arguments, path)
    got = f", got {came(found, secret=_any_secret(path, schema))}" if known else ""
    if expected and (len(errors) > 1 or errors[0]["type"].endswith(_WRONG_TYPE)):
        return f"{place(path)} should be {expected}{got}"
    return f"{place(path)} {one_of(message_of(each) for each in errors)}{got}"


def message_of(error: ErrorDetails) -> str:
    """Return what one of pydantic's errors says, as a phrase that follows the name of the place."""
    if error["type"] == "missing":
        return "is missing"
    message = error["msg"]
    for prefix in _PREFIXES:
        message = message.removeprefix(prefix)
    return f"is not accepted: {message}" if error["type"] in {"value_error", "assertion_error"} else message


def _unknown(path: tuple[Step, ...], arguments: Any, schema: Mapping[str, Any], kind: str) -> str:
    """Say that there is no such argument, and which one may have been meant or which there are."""
    owner = descend(schema, path[:-1], schema) or {}
    names = list(owner.get("properties", {}))
    what = f"an argument of this {kind}" if len(path) == 1 else f"a member of {place(path[:-1])}"
    present, _ = _value_at(arguments, path[:-1])
    free = [name for name in names if not (isinstance(present, dict) and name in present)]
    if near := difflib.get_close_matches(str(path[-1])[:64], free, n=1, cutoff=0.7):
        return f'{place(path)} is not {what} (did you mean "{near[0]}"?)'
    takes = f"it takes: {', '.join(names)}" if names else "it takes none"
    return f"{place(path)} is not {what} ({takes})"


def _any_secret(path: tuple[Step, ...], schema: Mapping[str, Any]) -> bool:
    return any(is_secret(descend(schema, path[:end], schema), schema) for end in range(1, len(path) + 1))


def _value_at(arguments: Any, path: tuple[Step, ...]) -> tuple[Any, bool]:
    """Return the value at a path, and whether there is one."""
    found = arguments
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return None, False
    return found, True
