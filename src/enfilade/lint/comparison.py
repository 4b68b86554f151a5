"""What has changed between two surfaces, and which of it breaks clients.

Easy to get wrong: the direction. A client that sends what it always sent breaks where a server wants more
(arguments); one that reads breaks where a server gives less (results). So each has its own direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

from enfilade.client.json_values import alternatives, choices, kinds
from enfilade.client.surface import Item, Surface
from enfilade.lint.findings import Finding

Schema = Mapping[str, Any]
Direction = Literal["sent", "read"]
Change = tuple[bool, str, str]  # whether it breaks clients, where, what

_MEND: Final = {
    True: "keep what was there beside the new, or tell the clients and store a new snapshot",
    False: "store a new snapshot when you are content with it",
}
#: Bounds by keyword: whether a larger value is narrower.
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
_DEEPEST: Final = 20


def compare(old: Surface, new: Surface) -> list[Finding]:
    """Return the changes from one surface to another; `breaking` is the severity of those that break clients."""
    return [
        Finding(
            rule="removed-or-narrowed" if breaking else "changed",
            severity="breaking" if breaking else "note",
            where=where,
            said=said,
            mend=_MEND[breaking],
        )
        for breaking, where, said in _changes(old, new)
    ]


def _changes(old: Surface, new: Surface) -> Iterator[Change]:
    for capability in old.capabilities:
        if capability not in new.capabilities:
            yield True, "server", f"is not capable of {capability} any more"
    yield from _lists("tool", old.tools, new.tools, "name", _tool)
    yield from _lists("prompt", old.prompts, new.prompts, "name", _prompt)
    yield from _lists("resource", old.resources, new.resources, "uri", _plain("mimeType"))
    yield from _lists("template", old.templates, new.templates, "uriTemplate", _plain("mimeType"))


def _lists(
    what: str, old: list[Item], new: list[Item], key: str, each: Callable[[str, Item, Item], Iterator[Change]]
) -> Iterator[Change]:
    before, after = {item[key]: item for item in old}, {item[key]: item for item in new}
    for name, item in before.items():
        where = f"{what} {name}"
        if name not in after:
            yield True, where, "was removed"
            continue
        if item.get("description") != after[name].get("description"):
            yield False, where, "is described in other words"
        yield from each(where, item, after[name])
    for name in after.keys() - before.keys():
        yield False, f"{what} {name}", "is new"


def _tool(where: str, old: Item, new: Item) -> Iterator[Change]:
    before, after = old.get("inputSchema", {}), new.get("inputSchema", {})
    yield from _Comparison("sent", before, after).schema(where, before, after)
    out, now = old.get("outputSchema"), new.get("outputSchema")
    if out is not None and now is None:
        yield True, f"{where}, result", "has no structure any more"
    elif out is not None and now is not None:
        yield from _Comparison("read", out, now).schema(f"{where}, result", out, now)
    elif now is not None:
        yield False, f"{where}, result", "has a structure now"
    if old.get("annotations") != new.get("annotations"):
        yield False, where, "has other annotations"


def _prompt(where: str, old: Item, new: Item) -> Iterator[Change]:
    before = {each["name"]: bool(each.get("required")) for each in old.get("arguments") or ()}
    after = {each["name"]: bool(each.get("required")) for each in new.get("arguments") or ()}
    for name in before.keys() - after.keys():
        yield True, f"{where}, argument {name}", "was removed"
    for name, required in after.items():
        if name not in before:
            yield required, f"{where}, argument {name}", "is new and required" if required else "is new"
        elif required and not before[name]:
            yield True, f"{where}, argument {name}", "is required now"


def _plain(key: str) -> Callable[[str, Item, Item], Iterator[Change]]:
    def changed(where: str, old: Item, new: Item) -> Iterator[Change]:
        if old.get(key) != new.get(key):
            yield True, where, f"has {key} {new.get(key)!r} instead of {old.get(key)!r}"

    return changed


class _Comparison:
    """Compares two schemas.

    Args:
        direction: whether clients send such values, or read them.
        old: the root that references of the old schema lead into.
        new: that of the new one.
    """

    def __init__(self, direction: Direction, old: Schema, new: Schema) -> None:
        self._sent = direction == "sent"
        self._roots = old, new

    def schema(self, where: str, old: Schema, new: Schema, depth: int = 0) -> Iterator[Change]:
        """Yield the changes of a schema and of all within it."""
        before, after = alternatives(old, self._roots[0]), alternatives(new, self._roots[1])
        yield from self._types(where, before, after)
        yield from self._values(where, before, after)
        if len(before) == 1 and len(after) == 1:
            yield from self._bounds(where, before[0], after[0])
        old_object, new_object = _of_kind("object", before), _of_kind("object", after)
        if old_object is not None and new_object is not None and depth < _DEEPEST:
            yield from self._properties(where, old_object, new_object, depth)
        old_array, new_array = _of_kind("array", before), _of_kind("array", after)
        if old_array is not None and new_array is not None and depth < _DEEPEST:
            items = _schema(old_array.get("items")), _schema(new_array.get("items"))
            yield from self.schema(f"{where}, items", *items, depth + 1)

    def _types(self, where: str, before: list[Schema], after: list[Schema]) -> Iterator[Change]:
        old, new = _types_of(before), _types_of(after)
        if old == new:
            return
        said = f"is {_listed(new)} instead of {_listed(old)}"
        covered = (_covers(new, old), _covers(old, new))
        yield not covered[0 if self._sent else 1], where, said

    def _values(self, where: str, before: list[Schema], after: list[Schema]) -> Iterator[Change]:
        old, new = _values_of(before), _values_of(after)
        if old == new or (old is None and new is None):
            return
        if old is None or new is None:
            narrower = old is None
            said = "must be one of a list now" if narrower else "may be other than what was listed"
            yield narrower and self._sent, where, said
            return
        for value in sorted(old - new):
            yield self._sent, where, f"has no value {value} any more"
        for value in sorted(new - old):
            yield False, where, f"has a new value {value}"

    def _bounds(self, where: str, old: Schema, new: Schema) -> Iterator[Change]:
        for key, larger_is_narrower in _BOUNDS.items():
            before, after = old.get(key), new.get(key)
            if before == after:
                continue
            narrower = before is None or (after is not None and (after > before) is larger_is_narrower)
            yield narrower and self._sent, where, f"has {key} {_shown(after)} instead of {_shown(before)}"
        for key in ("pattern", "format", "multipleOf"):
            if old.get(key) != new.get(key):
                narrower = new.get(key) is not None
                said = f"has {key} {_shown(new.get(key))} instead of {_shown(old.get(key))}"
                yield narrower and self._sent, where, said

    def _properties(self, where: str, old: Schema, new: Schema, depth: int) -> Iterator[Change]:
        before, after = old.get("properties") or {}, new.get("properties") or {}
        needed, needs = set(old.get("required") or ()), set(new.get("required") or ())
        noun = "argument" if self._sent and depth == 0 else "property"
        for name in before:
            at = f"{where}, {noun} {name}"
            if name not in after:
                yield True, at, "was removed"
                continue
            if name in needs - needed:
                yield self._sent, at, "is required now"
            elif name in needed - needs:
                yield not self._sent, at, "may be left out now"
            if "default" in _schema(before[name]) and _default(before[name]) != _default(after[name]):
                yield False, at, "has another default"
            yield from self.schema(at, _schema(before[name]), _schema(after[name]), depth + 1)
        for name in after:
            if name not in before:
                required = name in needs
                breaking = required and self._sent
                yield breaking, f"{where}, {noun} {name}", "is new and required" if breaking else "is new"
        if (
            old.get("additionalProperties") is not False
            and new.get("additionalProperties") is False
            and self._sent
        ):
            yield True, where, "takes no other properties any more"


def _schema(found: Any) -> Schema:
    return found if isinstance(found, Mapping) else {}


def _default(found: Any) -> Any:
    return _schema(found).get("default")


def _of_kind(kind: str, options: list[Schema]) -> Schema | None:
    fitting = [option for option in options if kind in kinds(option)]
    return fitting[0] if len(fitting) == 1 else None


def _types_of(options: list[Schema]) -> frozenset[str]:
    """Return the types that values may have; empty for any."""
    found: set[str] = set()
    for option in options:
        named = kinds(option) or [_type_of_value(value) for value, _ in choices(option)]
        if not named:
            return frozenset()
        found.update(named)
    return frozenset(found)


def _type_of_value(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _covers(wide: frozenset[str], narrow: frozenset[str]) -> bool:
    if not wide:
        return True
    more = {*wide, "integer"} if "number" in wide else wide
    return bool(narrow) and narrow <= more


def _values_of(options: list[Schema]) -> set[str] | None:
    """Return the listed values, or None if there are others as well."""
    listed = [choices(option) for option in options]
    return {repr(value) for each in listed for value, _ in each} if all(listed) else None


def _listed(types: frozenset[str]) -> str:
    return " | ".join(sorted(types)) or "any"


def _shown(value: Any) -> str:
    return "none" if value is None else repr(value)
