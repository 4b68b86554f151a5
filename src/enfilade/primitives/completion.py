"""Completion: suggested values for an argument while its user types.

Easy to get wrong: the order of suggestions. A list of choices is searched here (values that begin with the typed
text first, then values that contain it); a function gets the typed text, so its suggestions stay as they are.
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
from enfilade.wire.prompts import Completion

#: The protocol allows no more suggestions at once (R-531).
MOST_VALUES: Final = 100

Source = Callable[..., Any] | Iterable[Any] | type[Enum]


@dataclass(frozen=True, slots=True)
class FixedValues:
    """Fixed values, from a list, an Enum or the type of the argument."""

    values: tuple[str, ...]

    def suggest(self, typed: str) -> Completion:
        """Return the values that match the typed text, best first, ignoring case."""
        prefix = typed.casefold()
        matches = [value for value in self.values if value.casefold().startswith(prefix)]
        matches += [value for value in self.values if prefix in value.casefold()[1:] and value not in matches]
        return completion_of(matches)


@dataclass(frozen=True, slots=True)
class Suggester:
    """A function that suggests values.

    Attributes:
        handler: the function.
        value: its parameter for the typed text, or None.
        arguments: its parameter for the other arguments, which are already filled in, or None.
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


Completer = FixedValues | Suggester


def completers_for(
    parameters: Sequence[Parameter],
    names: Sequence[str],
    sources: Mapping[str, Source] | None,
    context_type: type,
    label: str,
) -> dict[str, Completer]:
    """Return the completers by argument: from the author's sources, and from types with few values.

    Raises:
        ValueError: a source is for an argument that does not exist.
    """
    completers: dict[str, Completer] = {}
    for parameter in parameters:
        if parameter.name in names and (values := choices_of(parameter.annotation)):
            completers[parameter.name] = FixedValues(values)
    for name, source in (sources or {}).items():
        if name not in names:
            existing = ", ".join(names) or "none"
            raise ValueError(f'{label} has no argument "{name}" to complete; it has: {existing}')
        if not callable(source) and not isinstance(source, Iterable):
            raise TypeError(f'{label}: what suggests "{name}" is a function, a list or an Enum, not {source!r}')
        completers[name] = completer_of(source, context_type)
    return completers


def completer_of(source: Source, context_type: type) -> Completer:
    """Return the completer for a function, a list or an Enum.

    Raises:
        TypeError: the function has required parameters that have no value.
    """
    if isinstance(source, type) and issubclass(source, Enum):
        return FixedValues(choices_of(source) or ())
    if callable(source):
        return _suggester(source, context_type)
    return FixedValues(tuple(map(text_of_value, source)))


def _suggester(fn: Callable[..., Any], context_type: type) -> Suggester:
    signature = read_signature(fn, context_type, kind="completion")
    named = {parameter.name for parameter in signature.parameters}
    unnamed = [parameter for parameter in signature.parameters if parameter.name not in ("value", "arguments")]
    required = [parameter.name for parameter in unnamed if parameter.default is EMPTY]
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
    """Return the values of an Enum, Literal, bool or union of these; None for other types."""
    bare = strip(annotation)
    origin = get_origin(bare)
    if origin is Literal:
        return tuple(text_of_value(value) for value in get_args(bare) if value is not None)
    if origin in (Union, types.UnionType):
        members = [choices_of(branch) for branch in get_args(bare) if branch is not type(None)]
        of_few_values = [values for values in members if values is not None]
        return (
            tuple(dict.fromkeys(value for values in of_few_values for value in values))
            if of_few_values == members
            else None
        )
    if bare is bool:
        return ("true", "false")
    if isinstance(bare, type) and issubclass(bare, Enum):
        return tuple(text_of_value(member) for member in bare)
    return None


def text_of_value(value: Any) -> str:
    """Return a value as users write it."""
    if isinstance(value, Enum):
        value = value.value
    return str(value).lower() if isinstance(value, bool) else clean(str(value))


def completion_of(suggestions: Any) -> Completion:
    """Return the suggestions of a function as they are sent: at most 100, and whether there are more.

    Args:
        suggestions: any iterable, a `Completion`, or None for no suggestions.

    Raises:
        ReturnedValueError: it is neither.
    """
    if isinstance(suggestions, Completion):
        cut = len(suggestions.values) > MOST_VALUES
        return Completion(
            values=suggestions.values[:MOST_VALUES],
            total=suggestions.total,
            has_more=True if cut else suggestions.has_more,
        )
    if isinstance(suggestions, (str, bytes, AsyncIterator)) or not isinstance(
        suggestions, (Iterable, types.NoneType)
    ):
        raise ReturnedValueError(f"A completion is a list of strings, not {type(suggestions).__name__}")
    if isinstance(suggestions, Iterator):  # may have no end
        values = [text_of_value(value) for value in islice(suggestions, MOST_VALUES + 1)]
        more = len(values) > MOST_VALUES
        return _completion(values, None if more else len(values), more)
    values = [text_of_value(value) for value in suggestions or ()]
    return _completion(values, len(values), len(values) > MOST_VALUES)


def _completion(values: list[str], total: int | None, more: bool) -> Completion:
    completion = Completion(values=values[:MOST_VALUES], has_more=more)
    if total is not None:
        completion.total = total
    return completion
