"""Arguments that came as strings in place of other types: JSON of objects and arrays, `"null"`, `"1"` for 1.

Models write `{"filter": "{\\"a\\": 1}"}` where `{"filter": {"a": 1}}` is meant. Only what the validation refused
is looked at, and what stands beside it in the same array or map, so that one round repairs all of their items.

Easy to get wrong: a string that may be one. What the validation refused may have been meant as a string all the
same, which its next round says; what it did not refuse is left alone wherever the schema has strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from enfilade.primitives.schema.references import (
    SchemasByPath,
    Step,
    branches_of,
    descend,
    follow,
    types_of,
    value_at,
)

#: How often arguments are read again, because strings of JSON may contain further ones: at least, at most, and
#: the limit of all bytes that are read.
_LEAST_ROUNDS: Final = 6
_MOST_ROUNDS: Final = 64
_MOST_BYTES: Final = 24 * 1024 * 1024

_DEPTH: Final = 6  # unions within unions


def rounds(size: int) -> range:
    """Return the rounds in which arguments of this many bytes are repaired and read again."""
    return range(max(_LEAST_ROUNDS, min(_MOST_ROUNDS, _MOST_BYTES // max(size, 1))))


def repaired(values: Any, paths: Iterable[tuple[Step, ...]], schema: Mapping[str, Any]) -> Any:
    """Return arguments in which strings at these paths became what the schema asks for; None if none did.

    Args:
        values: parsed arguments; the objects and arrays in them are changed, the outermost one is not.
        paths: where something is wrong with them.
        schema: of the arguments.
    """
    result: Any = None
    schemas = SchemasByPath(schema)
    for path in dict.fromkeys(paths):
        text = value_at(values, path)
        if not path or not isinstance(text, str):
            continue
        subschema = schemas.at(path)
        target = _Target.from_schema(subschema, schema)
        value = target.meant_by(text)
        if value is text:
            continue
        result = values.copy() if result is None else result
        value_at(result, path[:-1])[path[-1]] = value
        if not _takes_text(subschema, schema):
            for owner, key in _alike(result, path, schema):
                if isinstance(owner[key], str):
                    owner[key] = target.meant_by(owner[key])
    return result


class _Target(NamedTuple):
    """Possible meanings of a string at a position: JSON types, and choices other than strings by their JSON."""

    types: frozenset[str]
    choices: Mapping[str, Any]

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any] | None, root: Mapping[str, Any]) -> _Target:
        choices = [choice for choice in _choices(schema, root) if not isinstance(choice, str)]
        return cls(frozenset(types_of(schema, root)), {to_json(choice).decode(): choice for choice in choices})

    def meant_by(self, text: str) -> Any:
        """Return the value that a string stands for; the string itself if it stands for no other value."""
        stripped = text.strip()
        if stripped == "null" and "null" in self.types:
            return None
        if (stripped[:1] == "{" and "object" in self.types) or (stripped[:1] == "[" and "array" in self.types):
            try:
                return from_json(text, allow_inf_nan=False)
            except ValueError:
                return text
        return self.choices.get(stripped.lower(), text) if self.choices else text


def _choices(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Iterator[Any]:
    """Yield the values that a schema and its branches list."""
    schema = follow(schema, root)
    yield from schema.get("enum", [schema["const"]] if "const" in schema else [])
    for branch in branches_of(schema) if depth < _DEPTH else ():
        yield from _choices(branch, root, depth + 1)


def _takes_text(schema: Any, root: Mapping[str, Any], depth: int = 0) -> bool:
    """Return whether a schema may accept some string, as far as its keywords tell."""
    schema = follow(schema, root)
    if "enum" in schema or "const" in schema:
        return any(isinstance(choice, str) for choice in schema.get("enum", [schema.get("const")]))
    if "type" in schema:
        return "string" in schema["type"]
    branches = branches_of(schema)
    if not branches or depth == _DEPTH:
        return True
    return any(_takes_text(branch, root, depth + 1) for branch in branches)


def _alike(value: Any, path: tuple[Step, ...], schema: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the positions that share the schema of the one at a path, each as its owner and its key.

    Those are the items of an array, and the members of an object that are not among its properties.
    """
    owners, subschema = [value], schema
    for step in path[:-1]:
        keys_of = _selector(step, subschema, schema)
        owners = [owner[key] for owner in owners for key in keys_of(owner)]
        subschema = descend(subschema, (step,), schema) or {}
    keys_of = _selector(path[-1], subschema, schema)
    for owner in owners:
        for key in keys_of(owner):
            yield owner, key


def _selector(
    step: Step, owner_schema: Mapping[str, Any], root: Mapping[str, Any]
) -> Callable[[Any], Iterable[Any]]:
    """Return a function that gives the keys of a value that share the schema of one of them."""
    schemas = [owner_schema, *(follow(branch, root) for branch in branches_of(owner_schema))]
    if isinstance(step, int):
        if any("prefixItems" in schema for schema in schemas):
            return lambda value: [step] if isinstance(value, list) and step < len(value) else ()
        return lambda value: range(len(value)) if isinstance(value, list) else ()
    names = {name for schema in schemas for name in schema.get("properties", ())}
    if step in names or any("patternProperties" in schema for schema in schemas):
        return lambda value: [step] if isinstance(value, dict) and step in value else ()
    return lambda value: [key for key in value if key not in names] if isinstance(value, dict) else ()
