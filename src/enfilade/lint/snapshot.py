"""Store a surface in a file, and compare a later one with it: which changes break clients?

A snapshot is readable JSON without the protocol's revision and the server's version: clients do not rely on them,
and a release alone must not change it.

Easy to get wrong: the direction. Clients send arguments, so a server breaks them if it requires more; they read
results, so it breaks them if it returns less.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from enfilade.client.json_values import alternatives, choices, kinds
from enfilade.client.surface import Item, Surface
from enfilade.lint.findings import Finding

Schema = Mapping[str, Any]
Direction = Literal["sent", "read"]
SurfaceChange = tuple[bool, str, str]  # whether it breaks clients, the location, the change

_FORMAT: Final = 1
_OMITTED: Final = ("revision", "server")
_FIXES: Final = {
    True: "keep the old form beside the new one, or inform the clients and store a new snapshot",
    False: "store a new snapshot if the change is intended",
}
#: Bounds by keyword: whether a larger value is stricter.
_BOUNDS: Final = {
    "minimum": True,
    "exclusiveMinimum": True,
    "minLength": True,
    "minItems": True,
    "maximum": False,
    "exclusiveMaximum": False,
    "maxLength": False,
    "maxItems": False,
}
_MAX_DEPTH: Final = 20


class SnapshotError(Exception):
    """A snapshot cannot be read or written; the text says why and what to do."""


def save(surface: Surface, file: Path) -> None:
    """Write a surface to a file.

    Raises:
        SnapshotError: it cannot be written.
    """
    members: dict[str, Any] = msgspec.to_builtins(surface)
    for key in _OMITTED:
        del members[key]
    for skill in members["skills"]:
        skill.pop("resources", None)  # each change of a file would change the snapshot
    if not members["skills"]:
        del members["skills"]
    text = json.dumps({"snapshot": _FORMAT, **members}, indent=2, ensure_ascii=False, sort_keys=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise SnapshotError(f"the snapshot {str(file)!r} cannot be written: {error.strerror}") from None


def load(file: Path) -> Surface:
    """Return the surface in a file.

    Raises:
        SnapshotError: the file does not exist, or is no snapshot.
    """
    try:
        members = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SnapshotError(f"there is no snapshot {str(file)!r}; store one with --save") from None
    except (OSError, ValueError) as error:
        raise SnapshotError(f"the snapshot {str(file)!r} cannot be read: {error}") from None
    if not isinstance(members, dict) or members.pop("snapshot", None) != _FORMAT:
        raise SnapshotError(f"{str(file)!r} is no snapshot of this version; store a new one with --save")
    try:
        return msgspec.convert(members, Surface)
    except msgspec.ValidationError as error:
        raise SnapshotError(f"{str(file)!r} is no snapshot: {error}") from None


# -- Comparison ---
def compare(old: Surface, new: Surface) -> list[Finding]:
    """Return the changes from one surface to another; those that break clients have the severity `breaking`."""
    return [
        Finding(
            rule="removed-or-narrowed" if breaking else "changed",
            severity="breaking" if breaking else "note",
            where=where,
            problem=problem,
            fix=_FIXES[breaking],
        )
        for breaking, where, problem in _changes(old, new)
    ]


def _changes(old: Surface, new: Surface) -> Iterator[SurfaceChange]:
    for capability in old.capabilities:
        if capability not in new.capabilities:
            yield True, "server", f"no longer has the capability {capability}"
    yield from _lists("tool", old.tools, new.tools, "name", _tool)
    yield from _lists("prompt", old.prompts, new.prompts, "name", _prompt)
    yield from _lists("resource", old.resources, new.resources, "uri", _resource)
    yield from _lists("template", old.templates, new.templates, "uriTemplate", _resource)
    yield from _lists("skill", old.skills, new.skills, "uri", _skill)


def _lists(
    noun: str,
    old: list[Item],
    new: list[Item],
    key: str,
    compare_items: Callable[[str, Item, Item], Iterator[SurfaceChange]],
) -> Iterator[SurfaceChange]:
    old_items, new_items = {item[key]: item for item in old}, {item[key]: item for item in new}
    for name, item in old_items.items():
        where = f"{noun} {name}"
        if name not in new_items:
            yield True, where, "was removed"
            continue
        if item.get("description") != new_items[name].get("description"):
            yield False, where, "has another description"
        yield from compare_items(where, item, new_items[name])
    for name in new_items.keys() - old_items.keys():
        yield False, f"{noun} {name}", "is new"


def _tool(where: str, old: Item, new: Item) -> Iterator[SurfaceChange]:
    old_input, new_input = old.get("inputSchema", {}), new.get("inputSchema", {})
    yield from _SurfaceComparison("sent", old_input, new_input).schema(where, old_input, new_input)
    old_output, new_output = old.get("outputSchema"), new.get("outputSchema")
    if old_output is not None and new_output is None:
        yield True, f"{where}, result", "no longer has a structure"
    elif old_output is not None and new_output is not None:
        yield from _SurfaceComparison("read", old_output, new_output).schema(
            f"{where}, result", old_output, new_output
        )
    elif new_output is not None:
        yield False, f"{where}, result", "has a structure now"
    if old.get("annotations") != new.get("annotations"):
        yield False, where, "has other annotations"


def _prompt(where: str, old: Item, new: Item) -> Iterator[SurfaceChange]:
    old_required = {argument["name"]: bool(argument.get("required")) for argument in old.get("arguments") or ()}
    new_required = {argument["name"]: bool(argument.get("required")) for argument in new.get("arguments") or ()}
    for name in old_required.keys() - new_required.keys():
        yield True, f"{where}, argument {name}", "was removed"
    for name, required in new_required.items():
        if name not in old_required:
            yield required, f"{where}, argument {name}", "is new and required" if required else "is new"
        elif required and not old_required[name]:
            yield True, f"{where}, argument {name}", "is required now"


def _resource(where: str, old: Item, new: Item) -> Iterator[SurfaceChange]:
    if old.get("mimeType") != new.get("mimeType"):
        yield True, where, f"has mimeType {new.get('mimeType')!r} instead of {old.get('mimeType')!r}"


def _skill(where: str, old: Item, new: Item) -> Iterator[SurfaceChange]:
    if (old.get("frontmatter") or {}).get("description") != (new.get("frontmatter") or {}).get("description"):
        yield False, where, "has another description"


class _SurfaceComparison:
    """Compares schemas of values that clients send or read; references are resolved in the two roots."""

    def __init__(self, direction: Direction, old: Schema, new: Schema) -> None:
        self._sent = direction == "sent"
        self._roots = old, new

    def schema(self, where: str, old: Schema, new: Schema, depth: int = 0) -> Iterator[SurfaceChange]:
        """Yield the changes of a schema and its subschemas."""
        old_options, new_options = alternatives(old, self._roots[0]), alternatives(new, self._roots[1])
        yield from self._types(where, old_options, new_options)
        yield from self._values(where, old_options, new_options)
        if len(old_options) == 1 and len(new_options) == 1:
            yield from self._bounds(where, old_options[0], new_options[0])
        old_object, new_object = _of_kind("object", old_options), _of_kind("object", new_options)
        if old_object is not None and new_object is not None and depth < _MAX_DEPTH:
            yield from self._properties(where, old_object, new_object, depth)
        old_array, new_array = _of_kind("array", old_options), _of_kind("array", new_options)
        if old_array is not None and new_array is not None and depth < _MAX_DEPTH:
            items = _schema(old_array.get("items")), _schema(new_array.get("items"))
            yield from self.schema(f"{where}, items", *items, depth + 1)

    def _types(self, where: str, old_options: list[Schema], new_options: list[Schema]) -> Iterator[SurfaceChange]:
        old, new = _types_of(old_options), _types_of(new_options)
        if old == new:
            return
        fits_clients = _covers(new, old) if self._sent else _covers(old, new)
        yield not fits_clients, where, f"is {_listed(new)} instead of {_listed(old)}"

    def _values(
        self, where: str, old_options: list[Schema], new_options: list[Schema]
    ) -> Iterator[SurfaceChange]:
        old, new = _values_of(old_options), _values_of(new_options)
        if old == new or (old is None and new is None):
            return
        if old is None or new is None:
            narrower = old is None
            change = "must now be one of a list" if narrower else "may now have values outside of the old list"
            yield narrower and self._sent, where, change
            return
        for value in sorted(old - new):
            yield self._sent, where, f"no longer has the value {value}"
        for value in sorted(new - old):
            yield False, where, f"has a new value {value}"

    def _bounds(self, where: str, old: Schema, new: Schema) -> Iterator[SurfaceChange]:
        for key, larger_is_narrower in _BOUNDS.items():
            old_bound, new_bound = old.get(key), new.get(key)
            if old_bound == new_bound:
                continue
            narrower = old_bound is None or (
                new_bound is not None and (new_bound > old_bound) is larger_is_narrower
            )
            yield narrower and self._sent, where, f"has {key} {_shown(new_bound)} instead of {_shown(old_bound)}"
        for key in ("pattern", "format", "multipleOf"):
            if old.get(key) != new.get(key):
                narrower = new.get(key) is not None
                change = f"has {key} {_shown(new.get(key))} instead of {_shown(old.get(key))}"
                yield narrower and self._sent, where, change

    def _properties(self, where: str, old: Schema, new: Schema, depth: int) -> Iterator[SurfaceChange]:
        old_members, new_members = old.get("properties") or {}, new.get("properties") or {}
        old_required, new_required = set(old.get("required") or ()), set(new.get("required") or ())
        noun = "argument" if self._sent and depth == 0 else "property"
        for name in old_members:
            member = f"{where}, {noun} {name}"
            if name not in new_members:
                yield True, member, "was removed"
                continue
            if name in new_required - old_required:
                yield self._sent, member, "is required now"
            elif name in old_required - new_required:
                yield not self._sent, member, "is optional now"
            old_member, new_member = _schema(old_members[name]), _schema(new_members[name])
            if "default" in old_member and old_member["default"] != new_member.get("default"):
                yield False, member, "has another default"
            yield from self.schema(member, old_member, new_member, depth + 1)
        for name in new_members:
            if name not in old_members:
                breaking = name in new_required and self._sent
                yield breaking, f"{where}, {noun} {name}", "is new and required" if breaking else "is new"
        if (
            old.get("additionalProperties") is not False
            and new.get("additionalProperties") is False
            and self._sent
        ):
            yield True, where, "no longer accepts other properties"


def _schema(value: Any) -> Schema:
    return value if isinstance(value, Mapping) else {}


def _of_kind(kind: str, options: list[Schema]) -> Schema | None:
    fitting = [option for option in options if kind in kinds(option)]
    return fitting[0] if len(fitting) == 1 else None


def _types_of(options: list[Schema]) -> frozenset[str]:
    """Return the possible types of a value; empty for any."""
    types: set[str] = set()
    for option in options:
        option_types = kinds(option) or [_type_of_value(value) for value, _ in choices(option)]
        if not option_types:
            return frozenset()
        types.update(option_types)
    return frozenset(types)


def _type_of_value(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _covers(wide: frozenset[str], narrow: frozenset[str]) -> bool:
    if not wide:
        return True
    with_integers = {*wide, "integer"} if "number" in wide else wide
    return bool(narrow) and narrow <= with_integers


def _values_of(options: list[Schema]) -> set[str] | None:
    """Return the enumerated values; None if other values are possible."""
    lists = [choices(option) for option in options]
    return {repr(value) for listed in lists for value, _ in listed} if all(lists) else None


def _listed(types: frozenset[str]) -> str:
    return " | ".join(sorted(types)) or "any"


def _shown(value: Any) -> str:
    return "none" if value is None else repr(value)
