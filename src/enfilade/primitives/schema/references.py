"""The schemas within a JSON Schema: walked, looked up by path or `$ref`, and written out in place of references.

Many hosts do not follow `$ref` and show no type there, so references are written out (`inline_references`) as far
as they can be. A definition that leads back to itself stays one. So does one that is used more than once if the
schema would grow beyond `MAX_SUBSCHEMAS`: definitions that each use the next one twice double with each step.

Easy to get wrong: a property may be called `$ref` or `pattern`, and a default may hold anything. Only what stands
where a schema stands is one. And a description or default beside a `$ref` belongs to that one place; it replaces
the definition's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final

Schema = Mapping[str, Any]
#: A step of a path into a value: the name of a member, or the index of an item.
Step = str | int

#: Stands for a value that is not there.
MISSING: Final = object()
#: Subschemas that a schema may come to have when its references are written out.
MAX_SUBSCHEMAS: Final = 500

# Keywords that hold one schema, a list of schemas, and schemas by name.
_ONE: Final = (
    *("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties", "contentSchema"),
)
_LIST: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")

_PREFIX: Final = "#/$defs/"
_MAX_REFERENCES: Final = 32  # that are followed one after the other
_MAX_DEPTH: Final = 3  # of unions within unions
# What may stand beside a reference and replaces what the definition says.
_NOTES: Final = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})


# -- walking ---------------------------------------------------------------------------------------------------


def subschemas(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the schemas directly within a schema, each with the keyword that leads there."""
    for key in _ONE:
        if isinstance(schema.get(key), Mapping):
            yield key, schema[key]
    for key in _LIST:
        for item in schema.get(key) or () if isinstance(schema.get(key), list) else ():
            if isinstance(item, Mapping):
                yield key, item
    for key in _NAMED:
        members = schema.get(key)
        for member in members.values() if isinstance(members, Mapping) else ():
            if isinstance(member, Mapping):
                yield key, member


def walk(schema: Schema) -> Iterator[Schema]:
    """Yield a schema and all schemas within it."""
    yield schema
    for _, subschema in subschemas(schema):
        yield from walk(subschema)


def map_subschemas(schema: Schema, change: Callable[[Schema], Any]) -> dict[str, Any]:
    """Return a copy of a schema in which each schema directly within it is what `change` returns for it."""
    copy = dict(schema)
    for key in _ONE:
        if isinstance(copy.get(key), Mapping):
            copy[key] = change(copy[key])
    for key in _LIST:
        if isinstance(copy.get(key), list):
            copy[key] = [change(item) if isinstance(item, Mapping) else item for item in copy[key]]
    for key in _NAMED:
        if isinstance(copy.get(key), Mapping):
            copy[key] = {
                name: change(member) if isinstance(member, Mapping) else member
                for name, member in copy[key].items()
            }
    return copy


# -- looking up ------------------------------------------------------------------------------------------------


def follow(schema: Any, root: Schema) -> Schema:
    """Return the schema at the end of its `$ref`s; an empty one for `true`, loops and what is not there."""
    for _ in range(_MAX_REFERENCES):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = at_pointer(reference, root)
    return {}


def at_pointer(reference: str, root: Schema) -> Any:
    """Return what a local reference such as `#/$defs/Point` points at, or None."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    target: Any = root
    for token in reference[1:].split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(target, Mapping):
            target = target.get(key)
        elif isinstance(target, list) and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        else:
            return None
    return target


def descend(schema: Any, path: Iterable[Step], root: Schema) -> Schema | None:
    """Return the schema of the value at `path`, or None where no way leads there.

    Where several members of a union have such a value, it is a union of theirs.
    """
    current = follow(schema, root)
    for step in path:
        candidates = [follow(candidate, root) for candidate in _behind_step(current, step, root, 0)]
        if not candidates:
            return None
        current = candidates[0] if len(candidates) == 1 else {"anyOf": candidates}
    return current


class SchemasByPath:
    """The schemas of many values within one, looked up in one schema; each step is taken once.

    Args:
        root: the schema of the outermost value.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._found: dict[tuple[Step, ...], Schema | None] = {(): follow(root, root)}

    def at(self, path: tuple[Step, ...]) -> Schema | None:
        """Return what `descend` returns for a path."""
        known = len(path)
        while path[:known] not in self._found:
            known -= 1
        schema = self._found[path[:known]]
        for index in range(known, len(path)):
            schema = None if schema is None else descend(schema, (path[index],), self._root)
            self._found[path[: index + 1]] = schema
        return schema


def _behind_step(schema: Schema, step: Step, root: Schema, depth: int) -> list[Any]:
    """Return the schemas that the value behind one step can have."""
    if isinstance(step, int):
        prefix = schema.get("prefixItems", [])
        direct = prefix[step] if 0 <= step < len(prefix) else schema.get("items")
    else:
        unnamed = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
        direct = schema.get("properties", {}).get(step, unnamed[0])
    candidates = [direct] if isinstance(direct, Mapping) else []
    if depth <= _MAX_DEPTH:
        for branch in branches_of(schema):
            nested = _behind_step(follow(branch, root), step, root, depth + 1)
            candidates += (candidate for candidate in nested if candidate not in candidates)
    return candidates


def types_of(schema: Any, root: Schema) -> set[str]:
    """Return the JSON types that a schema names, in its branches as well; none for anything."""
    return set(_types(schema, root, 0))


def _types(schema: Any, root: Schema, depth: int) -> Iterator[str]:
    target = follow(schema, root)
    kinds = target.get("type", [])
    yield from [kinds] if isinstance(kinds, str) else kinds
    for branch in branches_of(target) if depth <= _MAX_DEPTH else ():
        yield from _types(branch, root, depth + 1)


def branches_of(schema: Schema) -> tuple[Any, ...]:
    """Return the alternatives that a schema has."""
    return (*schema.get("anyOf", ()), *schema.get("oneOf", ()))


def is_marked_secret(schema: Schema) -> bool:
    """Return whether a schema itself says that its values are secret."""
    return bool(schema.get("writeOnly")) or schema.get("format") == "password"


def has_secret(schema: Any, root: Schema, seen: set[int] | None = None) -> bool:
    """Return whether a schema, or one that it leads to, is that of a secret."""
    seen = set() if seen is None else seen
    if not isinstance(schema, Mapping) or id(schema) in seen:
        return False
    seen.add(id(schema))
    if is_marked_secret(schema) or ("$ref" in schema and has_secret(follow(schema, root), root, seen)):
        return True
    return any(has_secret(inner, root, seen) for _, inner in subschemas(schema))


def value_at(value: Any, path: Iterable[Step]) -> Any:
    """Return the value at a path; `MISSING` if there is none."""
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return value


# -- writing out references ------------------------------------------------------------------------------------


def inline_references(schema: Schema) -> dict[str, Any]:
    """Return a schema with the definitions in place of the references to them, as far as they can be.

    Args:
        schema: the schema with its `$defs`. References are to `#/$defs/…`; others stay as they are.
    """
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    if not definitions:
        return dict(schema)
    body = {key: value for key, value in schema.items() if key != "$defs"}
    uses = {name: set(_references(definition)) & definitions.keys() for name, definition in definitions.items()}
    retained = {name for name in definitions if name in reachable(uses[name], uses)}
    if _count(body, definitions, retained) > max(MAX_SUBSCHEMAS, _count(schema, {}, set())):
        times = Counter(name for source in (body, *definitions.values()) for name in _references(source))
        retained |= {name for name in definitions if times[name] > 1}

    def written_out(subschema: Schema) -> dict[str, Any]:
        name = _reference(subschema)
        copy = map_subschemas(subschema, written_out)
        if name is None or name in retained or name not in definitions:
            return copy
        del copy["$ref"]
        return _merged(written_out(definitions[name]), copy)

    result = written_out(body)
    if needed := reachable(set(_references(body)) & definitions.keys(), uses) & retained:
        result["$defs"] = {name: written_out(definitions[name]) for name in definitions if name in needed}
    return result


def _merged(definition: dict[str, Any], siblings: dict[str, Any]) -> dict[str, Any]:
    """Return a definition with what stood beside the reference to it."""
    if "required" in siblings and "properties" in definition:
        required = dict.fromkeys([*definition.get("required", ()), *siblings["required"]])
        siblings = {**siblings, "required": list(required)}
    elif any(key in definition and definition[key] != siblings[key] for key in siblings.keys() - _NOTES):
        return {"allOf": [definition], **siblings}
    return {**definition, **siblings}


def _reference(schema: Schema) -> str | None:
    """Return the name of the definition that a schema refers to, if it is a reference."""
    reference = schema.get("$ref")
    return reference.removeprefix(_PREFIX) if isinstance(reference, str) else None


def _references(schema: Schema) -> Iterator[str]:
    return (name for subschema in walk(schema) if (name := _reference(subschema)) is not None)


def reachable(names: set[str], uses: Mapping[str, set[str]]) -> set[str]:
    """Return these definitions, and all that they lead to."""
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += uses[name]
    return reached


def _count(body: Schema, definitions: Mapping[str, Any], retained: set[str]) -> int:
    """Return how many subschemas a schema has once it is written out; each definition is counted once only."""

    @cache
    def count_definition(name: str) -> int:
        return count(definitions[name])

    def count(schema: Schema) -> int:
        name = _reference(schema)
        more = count_definition(name) if name in definitions and name not in retained else 0
        return 1 + more + sum(count(subschema) for _, subschema in subschemas(schema))

    return count(body) + sum(count(definitions[name]) for name in retained)


# -- definitions of a whole schema -----------------------------------------------------------------------------


def object_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema with its root `$ref` written out, if its root type is object; None otherwise."""
    definitions = schema.get("$defs", {})
    name = str(schema.get("$ref", "")).removeprefix(_PREFIX)
    if name in definitions:
        siblings = {key: value for key, value in schema.items() if key not in ("$ref", "$defs")}
        schema = with_definitions({**definitions[name], **siblings}, definitions)
    return schema if schema.get("type") == "object" else None


def wrapped_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of `{"result": …}`, with the definitions moved to the root."""
    result = {key: value for key, value in schema.items() if key != "$defs"}
    wrapper: dict[str, Any] = {"type": "object", "properties": {"result": result}, "required": ["result"]}
    if "$defs" in schema:
        wrapper["$defs"] = schema["$defs"]
    return wrapper


def with_definitions(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with those of the definitions that it uses."""
    used = reachable(set(_mentioned_names(schema)) & definitions.keys(), definition_uses(definitions))
    retained = {name: definition for name, definition in definitions.items() if name in used}
    return {**schema, "$defs": retained} if retained else schema


def definition_uses(definitions: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the names of the definitions that each definition refers to."""
    names = definitions.keys()
    return {name: set(_mentioned_names(definition)) & names for name, definition in definitions.items()}


def _mentioned_names(node: Any) -> Iterator[str]:
    """Yield the names after `$ref` anywhere in a schema, under keywords that are not known here as well."""
    if isinstance(node, Mapping):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_PREFIX)
        for member in node.values():
            yield from _mentioned_names(member)
    elif isinstance(node, list):
        for item in node:
            yield from _mentioned_names(item)
