"""References within a schema, written out in place: many hosts do not follow `$ref`, and show no type there.

What leads back to itself stays a definition, as nobody could write it out. So does what is used more than once if
the schema would grow beyond `MOST`: a definition that uses another twice, which uses another twice, doubles with
each step.

Easy to get wrong: what stands beside a `$ref`. A description or default there is said of this one place, and
comes before the definition's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from enfilade.primitives.schema.schema_walk import Schema, everything, inner, rebuilt

#: Parts (schemas within a schema) that a schema may come to have by this.
MOST: Final = 500

_PREFIX: Final = "#/$defs/"
# What may stand beside a reference and say more of this one place, in place of what the definition says.
_NOTES: Final = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})


def inlined(schema: Schema) -> dict[str, Any]:
    """Return a schema with the definitions in place of the references to them, as far as they can be.

    Args:
        schema: a whole schema. References are to `#/$defs/…`; others stay as they are.
    """
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    if not definitions:
        return dict(schema)
    body = {key: value for key, value in schema.items() if key != "$defs"}
    used = {name: set(_references(each)) & definitions.keys() for name, each in definitions.items()}
    kept = {name for name in definitions if name in _reachable(used[name], used)}
    if _parts(body, definitions, kept) > max(MOST, _parts(schema, {}, set())):
        times = Counter(name for part in (body, *definitions.values()) for name in _references(part))
        kept |= {name for name in definitions if times[name] > 1}

    def written_out(part: Schema) -> dict[str, Any]:
        name = _name(part)
        made = rebuilt(part, written_out)
        if name is None or name in kept or name not in definitions:
            return made
        del made["$ref"]
        return _joined(written_out(definitions[name]), made)

    result = written_out(body)
    if left := _reachable(set(_references(body)) & definitions.keys(), used) & kept:
        result["$defs"] = {name: written_out(definitions[name]) for name in definitions if name in left}
    return result


def _joined(definition: dict[str, Any], beside: dict[str, Any]) -> dict[str, Any]:
    """Return a definition with what stood beside the reference to it."""
    if "required" in beside and "properties" in definition:
        required = dict.fromkeys([*definition.get("required", ()), *beside["required"]])
        beside = {**beside, "required": list(required)}
    elif any(key in definition and definition[key] != beside[key] for key in beside.keys() - _NOTES):
        return {"allOf": [definition], **beside}
    return {**definition, **beside}


def _name(part: Schema) -> str | None:
    reference = part.get("$ref")
    return reference.removeprefix(_PREFIX) if isinstance(reference, str) else None


def _references(part: Schema) -> Iterator[str]:
    return (name for each in everything(part) if (name := _name(each)) is not None)


def _reachable(names: set[str], used: Mapping[str, set[str]]) -> set[str]:
    """Return these definitions, and all that they lead to."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += used[name]
    return found


def _parts(body: Schema, definitions: Mapping[str, Any], kept: set[str]) -> int:
    """Return how many parts a schema has once it is written out; each definition is counted once only."""

    @cache
    def of(name: str) -> int:
        return count(definitions[name])

    def count(part: Schema) -> int:
        name = _name(part)
        more = of(name) if name in definitions and name not in kept else 0
        return 1 + more + sum(count(each) for _, each in inner(part))

    return count(body) + sum(count(definitions[name]) for name in kept)
