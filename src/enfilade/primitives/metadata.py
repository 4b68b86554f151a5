"""What authors add to a definition by hand: icons, hints and annotations, checked at registration.

Easy to get wrong: a hint with a typo is no hint. So unknown members are refused, under their Python names and
their wire names alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.content import Annotations, Icon
from enfilade.wire.message import Message
from enfilade.wire.tools import ToolAnnotations

_M = TypeVar("_M", bound=Message)

_Types = tuple[type, ...]

# What each option of a registration is: its types, and what errors call them.
_OPTIONS: Final[Mapping[str, tuple[_Types, str]]] = {
    **dict.fromkeys(("name", "title", "description", "mime_type"), ((str,), "a string")),
    **dict.fromkeys(("meta", "input_schema", "output_schema"), ((Mapping,), "a dict")),
    **dict.fromkeys(("structured_output", "additional_properties", "schema_refs"), ((bool,), "True or False")),
    "icons": ((Sequence,), "a list of icons, each a dict, an Icon or a URI"),
    "requires_secrets": ((Iterable,), "a list of names"),
    "timeout": ((int, float), "a number of seconds"),
    "size": ((int,), "a number of bytes"),
    "complete": ((Mapping,), "a dict of what suggests values, by argument"),
    "verbatim": ((Iterable,), "a list of names of variables"),
    "members": ((Callable,), "a function that returns resources"),  # type: ignore[dict-item]
}


def check_options(label: str, **options: object) -> None:
    """Check that the options of a registration have the types that they are declared with; None is no option.

    Args:
        label: what errors call the function or the resource.

    Raises:
        TypeError: names the first that has not.
    """
    for name, value in options.items():
        types, shown = _OPTIONS[name]
        is_odd_bool = isinstance(value, bool) and bool not in types
        if value is not None and (is_odd_bool or not isinstance(value, types)):
            raise TypeError(f"{label}: {name} is {shown}, not {value!r}")


class Dumped(Protocol):
    """A model of pydantic, such as `ToolAnnotations`, `Annotations` and `Icon` of the official SDK."""

    def model_dump(self, *, mode: str, by_alias: bool, exclude_none: bool) -> dict[str, Any]:
        """Return its members as JSON has them."""


def read_annotations(given: ToolAnnotations | Mapping[str, Any] | Dumped | None) -> ToolAnnotations | UnsetType:
    """Return a tool's hints.

    Raises:
        ValueError: a hint is unknown or is no boolean.
    """
    if given is None:
        return UNSET
    return given if isinstance(given, ToolAnnotations) else _message(ToolAnnotations, given, "annotations")


def read_content_annotations(
    given: Annotations | Mapping[str, Any] | Dumped | None,
) -> Annotations | UnsetType:
    """Return what is said about a resource's use: `audience`, `priority`, `last_modified`.

    Raises:
        ValueError: a member is unknown or has a value that it cannot have (R-525).
    """
    if given is None:
        return UNSET
    found = given if isinstance(given, Annotations) else _message(Annotations, given, "annotations")
    if found.priority is not UNSET and not 0 <= found.priority <= 1:
        raise ValueError(f"annotations: priority is from 0 to 1, not {found.priority}")
    return found


def read_icons(given: Sequence[Icon | Mapping[str, Any] | Dumped | str] | None) -> list[Icon] | UnsetType:
    """Return icons; a string is the icon's `src`.

    Raises:
        ValueError: an icon comes from elsewhere than an https or data URI, which clients reject (R-560).
    """
    if not given:
        return UNSET
    if isinstance(given, str):
        raise ValueError("icons is a list; put the icon's URI into one")
    icons = [_icon(each) for each in given]
    for each in icons:
        if not each.src.lower().startswith(("https://", "data:")):
            raise ValueError(
                f"the icon {each.src[:60]!r} is refused by clients: its src has to be an https or data URI"
            )
    return icons


def check_sendable(definition: Message, label: str) -> None:
    """Refuse now what would break every listing later: a schema or meta that JSON cannot hold.

    Raises:
        ValueError: it cannot be written.
    """
    try:
        msgspec.json.encode(definition)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{label}: its definition cannot be written as JSON ({error})") from error


def _icon(given: Icon | Mapping[str, Any] | Dumped | str) -> Icon:
    if isinstance(given, str):
        return Icon(src=given)
    return given if isinstance(given, Icon) else _message(Icon, given, "icon")


def _message(kind: type[_M], given: Mapping[str, Any] | Dumped, what: str) -> _M:
    """Read a mapping with Python names or wire names, or a model of pydantic, into a wire type.

    Raises:
        ValueError: it is neither, or has a member that the wire type has not.
    """
    if not isinstance(given, Mapping):
        if not hasattr(given, "model_dump"):
            raise ValueError(f"{what} is a dict or {kind.__name__}, not {given!r}")
        given = given.model_dump(mode="json", by_alias=True, exclude_none=True)
    wire_names = {
        name: each.encode_name for each in msgspec.structs.fields(kind) for name in (each.name, each.encode_name)
    }
    for name in given:
        if name not in wire_names:
            known = ", ".join(each.name for each in msgspec.structs.fields(kind))
            raise ValueError(f"{what} has no member {name!r}; it has: {known}")
    try:
        return msgspec.convert({wire_names[name]: value for name, value in given.items()}, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{what}: {error}") from error
