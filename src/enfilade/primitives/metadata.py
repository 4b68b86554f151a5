"""Icons, annotations, options and caching hints of a definition, checked at registration.

Easy to get wrong:

- A hint with a typo has no effect. So unknown members are refused, under their Python names and their wire names.
- `public` allows a proxy to hand a result to anybody, under any credentials (R-2A3). So it is never a default,
  and nothing that depends on the caller may have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from enfilade.wire.content import Annotations, Icon
from enfilade.wire.message import CacheableResult, CacheScope, Message
from enfilade.wire.tools import ToolAnnotations

_M = TypeVar("_M", bound=Message)

_Types = tuple[type, ...]

# The types of each option of a registration, and their description in errors.
_OPTIONS: Final[Mapping[str, tuple[_Types, str]]] = {
    **dict.fromkeys(("name", "title", "description", "mime_type"), ((str,), "a string")),
    **dict.fromkeys(("version", "instructions", "website_url"), ((str,), "a string")),
    **dict.fromkeys(("meta", "input_schema", "output_schema"), ((Mapping,), "a dict")),
    **dict.fromkeys(("structured_output", "additional_properties", "schema_refs"), ((bool,), "True or False")),
    "icons": ((Iterable,), "a list of icons, each a dict, an Icon or a URI"),
    "requires_secrets": ((Iterable,), "a list of names"),
    "timeout": ((Real, Decimal), "a number of seconds"),
    "size": ((int,), "a number of bytes"),
    "complete": ((Mapping,), "a dict of what suggests values, by argument"),
    "verbatim": ((Iterable,), "a list of names of variables"),
    "members": ((Callable,), "a function that returns resources"),  # type: ignore[dict-item]
}


def check_options(label: str, **options: object) -> None:
    """Check the types of the options of a registration; None counts as absent.

    Args:
        label: what errors call the function or the resource.

    Raises:
        TypeError: names the first option whose value is of another type.
    """
    for name, value in options.items():
        types, expected = _OPTIONS[name]
        is_odd_bool = isinstance(value, bool) and bool not in types
        if value is not None and (is_odd_bool or not isinstance(value, types)):
            raise TypeError(f"{label}: {name} is {expected}, not {_shown(value)}")


def _shown(value: object) -> str:
    """Return a plain value as it is written, and the type of any other, whose repr may be long or an address."""
    if value is None or isinstance(value, (str, bytes, int, float)):
        return repr(value)
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def check_required_texts(label: str, **options: object) -> None:
    """Check that options are strings, and not empty.

    Args:
        label: what errors call the function.

    Raises:
        TypeError: one of them is no string.
        ValueError: one of them is empty.
    """
    for name, value in options.items():
        if not isinstance(value, str):
            raise TypeError(f"{label}: {name} is a string, not {_shown(value)}")
        if not value.strip():
            raise ValueError(f"{label}: {name} is empty")


class DumpableModel(Protocol):
    """A model of pydantic, such as `ToolAnnotations`, `Annotations` and `Icon` of the official SDK."""

    def model_dump(self, *, mode: str, by_alias: bool, exclude_none: bool) -> dict[str, Any]:
        """Return its members as JSON has them."""


def read_annotations(
    hints: ToolAnnotations | Mapping[str, Any] | DumpableModel | None,
) -> ToolAnnotations | UnsetType:
    """Return a tool's hints.

    Raises:
        ValueError: a hint is unknown or is no boolean.
    """
    if hints is None:
        return UNSET
    return hints if isinstance(hints, ToolAnnotations) else read_message(ToolAnnotations, hints, "annotations")


def read_content_annotations(
    annotations: Annotations | Mapping[str, Any] | DumpableModel | None,
) -> Annotations | UnsetType:
    """Return the annotations of a resource: `audience`, `priority`, `last_modified`.

    Raises:
        ValueError: a member is unknown or has a value that it cannot have (R-525).
    """
    if annotations is None:
        return UNSET
    if not isinstance(annotations, Annotations):
        annotations = read_message(Annotations, annotations, "annotations")
    if annotations.priority is not UNSET and not 0 <= annotations.priority <= 1:
        raise ValueError(f"annotations: priority is from 0 to 1, not {annotations.priority}")
    return annotations


def read_icons(icons: Sequence[Icon | Mapping[str, Any] | DumpableModel | str] | None) -> list[Icon] | UnsetType:
    """Return icons; a string is the icon's `src`.

    Raises:
        ValueError: an icon comes from elsewhere than an https or data URI, which clients reject (R-560).
    """
    if not icons:
        return UNSET
    if isinstance(icons, str):
        raise ValueError("icons is a list; put the icon's URI into one")
    if isinstance(icons, Mapping):
        raise ValueError("icons is a list; put the icon into one")
    messages = [_icon(icon) for icon in icons]  # of any iterable, although types say a sequence
    for icon in messages:
        if not icon.src.lower().startswith(("https://", "data:")):
            raise ValueError(
                f"the icon {icon.src[:60]!r} is refused by clients: its src has to be an https or data URI"
            )
    return messages


def check_sendable(definition: Message, label: str) -> None:
    """Refuse a schema or meta that cannot be written as JSON, which would break every later listing.

    Raises:
        ValueError: it cannot be written.
    """
    try:
        msgspec.json.encode(definition)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{label}: its definition cannot be written as JSON ({error})") from error


def _icon(icon: Icon | Mapping[str, Any] | DumpableModel | str) -> Icon:
    if isinstance(icon, str):
        return Icon(src=icon)
    return icon if isinstance(icon, Icon) else read_message(Icon, icon, "icon")


def read_message(kind: type[_M], members: Mapping[str, Any] | DumpableModel, label: str) -> _M:
    """Read a mapping with Python names or wire names, or a model of pydantic, into a wire type.

    Raises:
        ValueError: it is neither, or has an unknown member.
    """
    if not isinstance(members, Mapping):
        if not hasattr(members, "model_dump"):
            raise ValueError(f"{label} is a dict or {kind.__name__}, not {members!r}")
        members = members.model_dump(mode="json", by_alias=True, exclude_none=True)
    fields = msgspec.structs.fields(kind)
    wire_names = {name: field.encode_name for field in fields for name in (field.name, field.encode_name)}
    for name in members:
        if name not in wire_names:
            names = ", ".join(field.name for field in fields)
            raise ValueError(f"{label} has no member {name!r}; it has: {names}")
    try:
        return msgspec.convert({wire_names[name]: value for name, value in members.items()}, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{label}: {error}") from error


# -- caching hints ---------------------------------------------------------------------------------------------
_ResultT = TypeVar("_ResultT", bound=CacheableResult)


class Caching(Struct, frozen=True):
    """How a result may be cached by clients of 2026-07-28 and later.

    Attributes:
        ttl: seconds that it may be reused; 0 to disable caching.
        scope: `public` only for what is the same for everybody.

    Raises:
        ValueError: the time is negative, or the scope is unknown.
    """

    ttl: float = 0
    scope: CacheScope = "private"

    def __post_init__(self) -> None:
        if not 0 <= self.ttl < float("inf"):
            raise ValueError(f"ttl is a number of seconds, 0 or more, not {self.ttl}")
        if self.scope not in ("public", "private"):
            raise ValueError(f'a cache scope is "public" or "private", not {self.scope!r}')

    def apply_to(self, result: _ResultT) -> _ResultT:
        """Return the result with these hints (R-2A0)."""
        return replace(result, ttl_ms=round(self.ttl * 1000), cache_scope=self.scope)


NO_CACHING = Caching()

#: Methods whose results may have caching hints (R-2A0).
_LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")


def check_cacheable(caching: Mapping[str, Caching]) -> Mapping[str, Caching]:
    """Return hints by method.

    Raises:
        ValueError: one is for a method whose result cannot be cached.
    """
    for method in caching:
        if method not in _LISTS:
            raise ValueError(f"caching: {method!r} is none of the lists: {', '.join(_LISTS)}")
    return caching
