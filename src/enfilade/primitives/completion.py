"""Completion: what suggests values for an argument while its user types.

Easy to get wrong: who ranks. A list of choices is searched here (what begins with the typed text first, then what
contains it); a function has seen the typed text, so its suggestions stay as they are.
"""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any, Final, Literal, Union, get_args, get_origin

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.handler import Handler, handler_of
from enfilade.primitives.schema.signature import EMPTY, Parameter, describe, read_signature
from enfilade.primitives.schema.type_aliases import strip
from enfilade.primitives.values.json_encoding import clean
from enfilade.wire.completion import Completion

#: The protocol allows no more suggestions at once (R-531).
MOST_VALUES: Final = 100

Source = Callable[..., Any] | Iterable[Any] | type[Enum]


@dataclass(frozen=True, slots=True)
class Choices:
    """Values that are known beforehand."""

    values: tuple[str, ...]

    def suggest(self, typed: str) -> Completion:
        """Return those that fit what was typed, best first, whatever their case."""
        wanted = typed.casefold()
        found = [value for value in self.values if value.casefold().startswith(wanted)]
        found += [value for value in self.values if wanted in value.casefold()[1:] and value not in found]
        return completion_of(found)


@dataclass(frozen=True, slots=True)
class Suggester:
    """A function that suggests values.

    Attributes:
        handler: the function.
        value: its parameter for what was typed, or None.
        arguments: its parameter for the arguments that are settled, or None.
    """

    handler: Handler
    value: str | None
    arguments: str | None

    def bind(self, typed: str, settled: Mapping[str, str], context: Any) -> dict[str, Any]:
        """Return the values for the function, by parameter name."""
        bound: dict[str, Any] = {}
        if self.value:
            bound[self.value] = typed
        if self.arguments:
            bound[self.arguments] = dict(settled)
        return self.handler.with_context(bound, context)


Completer = Choices | Suggester


def completers_for(
    parameters: Sequence[Parameter],
    names: Sequence[str],
    given: Mapping[str, Source] | None,
    context_type: type,
    label: str,
) -> dict[str, Completer]:
    """Return what suggests values by argument: what was given, and what the types know by themselves.

    Raises:
        ValueError: something is given for an argument that does not exist.
    """
    found: dict[str, Completer] = {}
    for each in parameters:
        if each.name in names and (values := choices_of(each.annotation)):
            found[each.name] = Choices(values)
    for name, source in (given or {}).items():
        if name not in names:
            known = ", ".join(names) or "none"
            raise ValueError(f'{label} has no argument "{name}" to complete; it has: {known}')
        if not callable(source) and not isinstance(source, Iterable):
            raise TypeError(f'{label}: what suggests "{name}" is a function, a list or an Enum, not {source!r}')
        found[name] = completer_of(source, context_type)
    return found


def completer_of(source: Source, context_type: type) -> Completer:
    """Return what suggests values: by a function, from a list, or from the members of an Enum.

    Raises:
        TypeError: the function has parameters that nothing can be put into.
    """
    if isinstance(source, type) and issubclass(source, Enum):
        return Choices(choices_of(source) or ())
    if callable(source):
        return _suggester(source, context_type)
    return Choices(tuple(map(spelled, source)))


def _suggester(fn: Callable[..., Any], context_type: type) -> Suggester:
    signature = read_signature(fn, context_type, kind="completion")
    named = {each.name for each in signature.parameters}
    others = [each for each in signature.parameters if each.name not in ("value", "arguments")]
    required = [each.name for each in others if each.default is EMPTY]
    value = "value" if "value" in named else None
    if value is None and len(required) == 1:
        value = required.pop()
    if required:
        raise TypeError(
            f"{describe(fn)} completes an argument and takes the typed value, the other arguments as "
            f'"arguments" and a context, all of them if it likes; nothing is known for "{required[0]}"'
        )
    return Suggester(handler_of(fn, signature), value, "arguments" if "arguments" in named else None)


def choices_of(annotation: Any) -> tuple[str, ...] | None:
    """Return the values of a type that has few: Enum, Literal, bool, unions of these; None for others."""
    bare = strip(annotation)
    origin = get_origin(bare)
    if origin is Literal:
        return tuple(spelled(value) for value in get_args(bare) if value is not None)
    if origin in (Union, types.UnionType):
        members = [choices_of(each) for each in get_args(bare) if each is not type(None)]
        known = [values for values in members if values is not None]
        return tuple(dict.fromkeys(value for values in known for value in values)) if known == members else None
    if bare is bool:
        return ("true", "false")
    if isinstance(bare, type) and issubclass(bare, Enum):
        return tuple(spelled(member) for member in bare)
    return None


def spelled(value: Any) -> str:
    """Return a value as users write it."""
    if isinstance(value, Enum):
        value = value.value
    return str(value).lower() if isinstance(value, bool) else clean(str(value))


def completion_of(found: Any) -> Completion:
    """Return the suggestions of a function as they are sent: at most 100, and whether there are more.

    Args:
        found: a list or anything else that can be iterated, a whole `Completion`, or None for nothing.

    Raises:
        ReturnedValueError: it is neither.
    """
    if isinstance(found, Completion):
        cut = len(found.values) > MOST_VALUES
        return Completion(
            values=found.values[:MOST_VALUES], total=found.total, has_more=True if cut else found.has_more
        )
    if isinstance(found, (str, bytes, AsyncIterator)) or not isinstance(found, (Iterable, types.NoneType)):
        raise ReturnedValueError(f"A completion is a list of strings, not {type(found).__name__}")
    if isinstance(found, Iterator):  # may have no end
        values = [spelled(value) for value in islice(found, MOST_VALUES + 1)]
        more = len(values) > MOST_VALUES
        return _completion(values, None if more else len(values), more)
    values = [spelled(value) for value in found or ()]
    return _completion(values, len(values), len(values) > MOST_VALUES)


def _completion(values: list[str], total: int | None, more: bool) -> Completion:
    completion = Completion(values=values[:MOST_VALUES], has_more=more)
    if total is not None:
        completion.total = total
    return completion
