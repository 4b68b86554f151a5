"""Arguments and results of plain types, read and written by msgspec; a server with no others loads no pydantic.

What is not plainly right is left to pydantic, which is loaded then: an argument that is wrong, or a string that
spells the number it should be; a result of another type, with an object in it, or with NaN. So values, texts of
errors and JSON are the same either way; tests compare them.

Easy to get wrong: what msgspec takes and pydantic does not. JSON may be nested more deeply, and an object with
keys that are no strings can be written. Both are looked for where a type may hold anything.
"""

from __future__ import annotations

import json
import marshal
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import EnumType
from functools import cached_property
from itertools import chain
from types import NoneType
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw, defstruct
from msgspec.structs import asdict

from enfilade.primitives.schema.plain_schemas import (
    NotPlainError,
    arguments_schema,
    holds_anything,
    holds_choices,
    holds_numbers,
    result_schema,
    type_of,
)
from enfilade.primitives.schema.signature import EMPTY, Parameter
from enfilade.startup.lazy import lazy_pattern
from enfilade.wire.content import TextContent
from enfilade.wire.tools import CallToolResult, LongTextResult

#: Brackets of a JSON text, and levels of a value, up to which pydantic surely reads and writes it.
_SURELY_FLAT: Final = 150
_SCALARS: Final = frozenset({str, int, float, bool, NoneType})
_TEXT: Final = frozenset({str})
_OWN: Final = frozenset({*_SCALARS, list, dict})

_encode: Final = msgspec.json.Encoder().encode
# Sorts the members of each dict, so it refuses keys that are no strings. The sort takes quadratic time at worst,
# so it is for short values only.
_sorted_json: Final = msgspec.json.Encoder(order="deterministic").encode
_SHORT: Final = 65_536  # bytes
_LONG_TEXT: Final = 16_384  # characters from which on a copy is worth more than what it takes to find it
_BEYOND_SHORT: Final = slice(_LONG_TEXT, _LONG_TEXT + 1)
_EXPONENT: Final = lazy_pattern(rb"[0-9]e[0-9]")  # in a number, or by chance in a text
_TEXT_OR_EXPONENT: Final = lazy_pattern(rb'"[^"\\]*(?:\\.[^"\\]*)*"|([0-9])e(?=[0-9])')


class Reader(Protocol):
    """Reads the arguments of a tool."""

    schema: dict[str, Any]

    def read(self, arguments: bytes | Raw | None) -> dict[str, Any]:
        """Return the values by parameter name.

        Raises:
            ArgumentsError: lists everything that is wrong.
        """
        ...


class Writer(Protocol):
    """Writes the results of a tool."""

    wrapped: bool

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the structured content."""

    def write(self, value: Any) -> CallToolResult:
        """Return the result for a value."""
        ...


def reader_for(
    parameters: Sequence[Parameter],
    *,
    descriptions: Mapping[str, str],
    extra: bool,
    has_refs: bool,
    full: Callable[[], Reader],
) -> Reader:
    """Return what reads arguments: a `PlainReader` if all parameters are plain, or else what `full` makes.

    Args:
        has_refs: whether the schema is published with its definitions, which pydantic alone makes.
    """
    if has_refs and any(holds_choices(type_of(parameter)) for parameter in parameters):
        return full()
    try:
        return PlainReader(parameters, descriptions=descriptions, extra=extra, full=full)
    except NotPlainError:
        return full()


def writer_for(returns: Any, *, has_refs: bool, full: Callable[[], Writer]) -> Writer:
    """Return what writes results: a `PlainWriter` if their type is plain, or else what `full` makes."""
    if has_refs and holds_choices(returns):
        return full()
    try:
        return PlainWriter(returns, full)
    except NotPlainError:
        return full()


class PlainReader:
    """Reads the arguments of a tool all of whose parameters are plain.

    Args:
        parameters: those that the caller fills.
        descriptions: of parameters that have none of their own, by name.
        extra: whether arguments without a parameter are left out; they are refused otherwise.
        full: makes what reads the arguments that this one cannot.

    Attributes:
        schema: the JSON Schema of the arguments.

    Raises:
        NotPlainError: a parameter is not plain.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        *,
        descriptions: Mapping[str, str],
        extra: bool,
        full: Callable[[], Reader],
    ) -> None:
        self._parameters = tuple(parameters)
        self._is_open = extra
        self._make_full = full
        self.schema: dict[str, Any] = arguments_schema(self._parameters, descriptions, extra=extra)
        if any(parameter.name.startswith("__") for parameter in self._parameters):  # which have a meaning there
            raise NotPlainError(self._parameters)

    def read(self, arguments: bytes | Raw | None) -> dict[str, Any]:
        """Return the values by parameter name.

        Raises:
            ArgumentsError: lists everything that is wrong.
        """
        try:
            return asdict(self._decode(b"{}" if arguments is None else arguments))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._full.read(arguments)

    @cached_property
    def _full(self) -> Reader:
        return self._make_full()

    @cached_property
    def _decode(self) -> Callable[[bytes | Raw], Any]:
        fields = [
            (parameter.name, type_of(parameter))
            if parameter.default is EMPTY
            else (parameter.name, type_of(parameter), parameter.default)
            for parameter in self._parameters
        ]
        kind = defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=not self._is_open, gc=False)
        try:
            decode = msgspec.json.Decoder(kind).decode
        except TypeError:  # such as a union of two kinds of lists
            return _leave_to_pydantic
        if not any(holds_anything(type_of(parameter)) for parameter in self._parameters):
            return decode

        def decode_flat(arguments: bytes | Raw) -> Any:
            data = bytes(arguments)
            values = decode(data)
            if data.count(b"[") + data.count(b"{") > _SURELY_FLAT and not _is_plain([asdict(values)]):
                raise RecursionError
            return values

        return decode_flat


class PlainWriter:
    """Writes results of a plain type.

    Args:
        returns: the type.
        full: makes what writes the results that this one cannot.

    Attributes:
        schema: the JSON Schema of the structured content.
        wrapped: whether a value is sent as `{"result": …}`.

    Raises:
        NotPlainError: the type is not plain.
    """

    def __init__(self, returns: Any, full: Callable[[], Writer]) -> None:
        self._type = returns
        self._make_full = full
        self.schema: dict[str, Any] | None
        self.schema, self.wrapped = result_schema(returns)
        self._is_enum = type(returns) is EnumType
        self._scalar = returns if returns in (str, int, bool, float) or self._is_enum else None
        self._holds_anything = holds_anything(returns)
        self._holds_numbers = holds_numbers(returns)

    def write(self, value: Any) -> CallToolResult:
        """Return the result for a value of the type.

        Raises:
            ReturnedValueError: the value is not of that type, or cannot be written in its schema.
        """
        if type(value) is self._scalar:
            result = scalar_result(value.value if self._is_enum else value)
        else:
            result = self._written(value)
        return self._full.write(value) if result is None else result

    @cached_property
    def _full(self) -> Writer:
        return self._make_full()

    def _written(self, value: Any) -> CallToolResult | None:
        """Return the result for a value of Python's own scalars, lists and dicts; None for any other."""
        if type(value) not in _OWN or not is_without_objects(value):
            return None
        try:
            converted = msgspec.convert(value, self._type)
            data = plain_json(converted) if self._holds_anything else _encode(converted)
            if data is None:
                return None
            if self._holds_numbers:
                if b"null" in data:
                    json.dumps(converted, allow_nan=False)
                data = _with_signs(data)
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
            return None
        text = msgspec.json.decode(data, type=str) if data.startswith(b'"') else data.decode()
        content = Raw(b'{"result":%b}' % data if self.wrapped else data)
        return CallToolResult(content=[TextContent(text=text)], structured_content=content)


def _leave_to_pydantic(arguments: bytes | Raw) -> Any:
    raise msgspec.DecodeError


def scalar_result(value: Any) -> CallToolResult | None:
    """Return the result for a string, integer, boolean or finite float, which need no validator; None for others.

    Those that JSON cannot hold as they are: half of a surrogate pair, thousands of digits.
    """
    try:
        data = _encode(value)
    except (OverflowError, ValueError):
        return None
    if type(value) is str:
        text = value
    elif type(value) is float and not math.isfinite(value):
        return None
    else:
        text = data.decode()
    if text[_BEYOND_SHORT]:  # without a call of `len`, as few texts are long
        return LongTextResult.of(text, data, Raw(b"".join((b'{"result":', data, b"}"))))  # one copy
    return CallToolResult(content=[TextContent(text=text)], structured_content=Raw(b'{"result":%b}' % data))


def plain_json(value: Any) -> bytes | None:
    """Return the compact JSON of a value of Python's own scalars and containers; None if it is another one.

    Also for one that JSON may not hold as it is: with keys that are no strings, or nested deeply.
    """
    if not is_without_objects(value):
        return None
    try:
        data = _encode(value)
        is_long = len(data) > _SHORT
        if not is_long and b":" in data:
            _sorted_json(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    if (is_long or data.count(b"[") + data.count(b"{") > _SURELY_FLAT) and not _is_plain([value]):
        return None
    return _with_signs(data)


def _with_signs(data: bytes) -> bytes:
    """Return JSON with the exponents of numbers as pydantic writes them: `1e+16` for `1e16`."""
    if _EXPONENT.search(data) is None:
        return data
    return _TEXT_OR_EXPONENT.sub(lambda match: match[0] if match[1] is None else b"%be+" % match[1], data)


def is_without_objects(value: Any) -> bool:
    """Return whether a value consists of Python's own scalars and containers: the fastest look at all of it."""
    try:
        marshal.dumps(value)
    except ValueError:
        return False
    return True


def _is_plain(values: Any) -> bool:
    """Return whether values are not nested deeply, and have no dicts with keys that are no strings."""
    for _ in range(_SURELY_FLAT):
        members: list[Any] = []
        for kind in set(map(type, values)) - _SCALARS:
            owners: Any = [owner for owner in values if type(owner) is kind]
            if kind is dict:
                if not _TEXT.issuperset(map(type, chain.from_iterable(owners))):
                    return False
                members += chain.from_iterable(owner.values() for owner in owners)
            elif kind is list or kind is tuple:
                members += chain.from_iterable(owners)
            else:
                return False
        if not members:
            return True
        values = members
    return False
