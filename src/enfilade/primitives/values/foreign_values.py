"""Values that pydantic cannot write, as values that it can: of numpy, pandas, attrs, msgspec, views, ranges.

None of these packages is imported: a value is recognized by its methods and the name of its class.

Easy to get wrong: `NaT` of pandas is an instance of `datetime` without being a date, so it is found only after a
serializer has failed, as are keys that are numbers of numpy.
"""

from __future__ import annotations

import dataclasses
import math
from collections import UserString
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, Set, ValuesView
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from enfilade.primitives.schema.references import Step

#: The reason why the rows of a table cannot be objects.
SAME_NAME: Final = "two columns of a table have the same name"

_NOTHING: Final = ("NaTType", "NAType")
_TIMES: Final = ("datetime64", "timedelta64")
_LISTED: Final = (range, KeysView, ValuesView, ItemsView, Set, Sequence)
_PLAINER: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (memoryview, bytes),
    (Mapping, dict),
    (UserString, str),
    (msgspec.Raw, msgspec.json.decode),
)
_PLAIN: Final = frozenset({str, int, float, bool, type(None), bytes})
_DEPTH: Final = 50


def is_attrs(kind: type) -> bool:
    """Return whether a class was made by attrs."""
    return hasattr(kind, "__attrs_attrs__")


def members_of(value: Any) -> dict[str, Any]:
    """Return the members of an object of attrs or msgspec, by their names in JSON."""
    if not isinstance(value, msgspec.Struct):
        return {attribute.alias: getattr(value, attribute.name) for attribute in type(value).__attrs_attrs__}
    config = value.__struct_config__
    members: dict[str, Any] = {} if config.tag is None else {str(config.tag_field): config.tag}
    for name, key in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
        member = getattr(value, name)
        if member is not msgspec.UNSET:
            members[key] = member
    return members


def plain_value(value: Any) -> Any:
    """Return a value of plainer types for one that pydantic does not know; the same value if there is none."""
    kind = type(value)
    if isinstance(value, msgspec.Struct) and value.__struct_config__.array_like:
        return list(members_of(value).values())
    if isinstance(value, msgspec.Struct) or is_attrs(kind):
        return members_of(value)
    if plain := next((make for kinds, make in _PLAINER if isinstance(value, kinds)), None):
        return plain(value)
    if kind.__name__ in (*_NOTHING, *_TIMES, "DataFrame") or hasattr(kind, "tolist"):
        return _of_table(value)
    return list(value) if isinstance(value, _LISTED) else value


def _of_table(value: Any) -> Any:
    """Return a value, column or table of numpy, pandas and the like as Python's own."""
    name = type(value).__name__
    if name in _NOTHING:
        return None
    if name in _TIMES:
        return value.astype(f"{name}[us]").item()  # those in nanoseconds would be numbers
    if hasattr(value, "to_dicts"):  # polars
        return value.to_dicts()
    if hasattr(value, "reset_index"):
        return _of_pandas(value)
    listed = value.tolist()
    return float(listed) if type(listed) is type(value) else listed


def _of_pandas(value: Any) -> Any:
    """Return a Series or DataFrame as lists and dicts, with the labels of its rows unless they count from zero.

    Raises:
        ValueError: two columns, or a column and the labels, have one name.
    """
    is_series = not hasattr(value, "columns")
    index = value.index
    is_numbered = _has_numbers(index) and index.tolist() == list(range(len(index)))
    if is_series and (is_numbered or (index.nlevels == 1 and index.is_unique)):
        items = value.tolist()
        return items if is_numbered else dict(zip(map(_label, index.tolist()), items, strict=True))
    table = value.to_frame("value" if value.name is None else value.name) if is_series else value
    labels = [] if is_numbered else _label_names(index)
    if len({*labels, *table.columns}) < len(labels) + len(table.columns):
        raise ValueError(SAME_NAME)
    table = table if is_numbered else table.reset_index(names=labels)
    return table.set_axis([_label(name) for name in table.columns], axis="columns").to_dict("records")


def _has_numbers(index: Any) -> bool:
    """Return whether the labels of rows are integers without a name."""
    return index.nlevels == 1 and index.name is None and str(index.dtype).startswith("int")


def _label(label: Any) -> Any:
    """Return a label as the key of an object; NaN and NaT become texts of these names."""
    if isinstance(label, float) and math.isnan(label):
        return "NaN"
    return str(label) if type(label).__name__ in _NOTHING else label


def without_row_numbers(value: Any) -> Any:
    """Return a value in whose pandas objects integer labels without a name are replaced by positions.

    Rows that were filtered or sorted have such labels, and a list of their values does not need them.
    """
    kind = type(value)
    if kind is dict:
        return {key: without_row_numbers(member) for key, member in value.items()}
    if kind in (list, tuple):
        return kind(map(without_row_numbers, value))
    return value.reset_index(drop=True) if hasattr(value, "reset_index") and _has_numbers(value.index) else value


def _label_names(index: Any) -> list[Any]:
    """Return the names of the columns that the labels of rows become."""
    if index.nlevels == 1:
        return ["index" if index.name is None else index.name]
    return [f"level_{level}" if name is None else name for level, name in enumerate(index.names)]


def plain_values(value: Any) -> Any:
    """Return plain containers with known keys and values in them; other objects stay as they are."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return {plain_values(key): plain_values(member) for key, member in value.items()}
    if kind in (list, tuple):
        return kind(map(plain_values, value))
    if isinstance(value, (str, set, frozenset)):
        return value
    plainer = plain_value(value)
    return value if plainer is value else plain_values(plainer)


def children(value: Any) -> Iterator[tuple[Step, Any]]:
    """Yield the members and items of a value, each with its step in the path that error messages name."""
    if isinstance(value, Mapping):
        yield from ((str(key), member) for key, member in value.items())
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value))
    elif hasattr(type(value), "model_fields"):
        yield from vars(value).items()
        yield from (value.__pydantic_extra__ or {}).items()
    elif (isinstance(value, msgspec.Struct) or is_attrs(type(value))) and missing_member(value) is None:
        yield from members_of(value).items()


def missing_member(value: Any) -> str | None:
    """Return the name of the first field that a dataclass, attrs object or Struct lacks; None if it has all."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        names = [(field.name, field.name) for field in dataclasses.fields(kind)]
    elif isinstance(value, msgspec.Struct):
        names = list(zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True))
    elif is_attrs(kind):
        names = [(attribute.name, attribute.alias) for attribute in kind.__attrs_attrs__]
    else:
        return None
    return next((key for name, key in names if not hasattr(value, name)), None)


def first_non_finite(value: Any, depth: int = 0) -> tuple[tuple[Step, ...], str] | None:
    """Return where the first NaN or infinity is in a value, and what it is called; None if there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return (), "NaN" if math.isnan(value) else "Infinity"
    for step, child in children(value) if depth < _DEPTH else ():
        if position := first_non_finite(child, depth + 1):
            return (step, *position[0]), position[1]
    return None
