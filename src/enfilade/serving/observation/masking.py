"""Arguments as the audit records them: secrets are masked, at any depth.

A secret is what its schema says is a password or `writeOnly`, and what the schema does not have. Easy to get
wrong: a value that is not what its schema says, such as an object that came as the text of its JSON. A secret may
stand anywhere in it, so it is masked as a whole.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from enfilade.primitives.schema.json_schema import json_type
from enfilade.primitives.schema.references import follow, subschemas
from enfilade.serving.secrets import MASK

Schema = Mapping[str, Any]

_MAX_DEPTH: Final = 8  # of unions within unions
_UNIONS: Final = ("anyOf", "oneOf", "allOf")


def masked_arguments(arguments: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return arguments without their secrets.

    Args:
        arguments: of a call.
        schema: of the arguments of the tool.
    """
    properties = schema.get("properties", {})
    if not _has_secret(schema, schema, set()):
        return {name: value if name in properties else MASK for name, value in arguments.items()}
    return {
        name: _masked(value, [properties[name]] if name in properties else [], schema)
        for name, value in arguments.items()
    }


def _masked(value: Any, schemas: list[Any], root: Schema) -> Any:
    """Return a value that has one of some schemas."""
    if value is None:
        return None
    branches = [branch for schema in schemas for branch in _branches(schema, root, 0)]
    if not branches or any(map(_is_marked, branches)):
        return MASK
    if not any(_has_secret(branch, root, set()) for branch in branches):
        return value
    if isinstance(value, dict):
        return {name: _masked(member, _of_member(name, branches), root) for name, member in value.items()}
    if isinstance(value, list):
        return [_masked(item, _of_item(index, branches), root) for index, item in enumerate(value)]
    kind = json_type(value)
    kinds = (kind, "number") if kind == "integer" else (kind,)
    return value if any(_is_of_type(branch, kinds) for branch in branches) else MASK


def _branches(schema: Any, root: Schema, depth: int) -> Iterator[Schema]:
    """Return a schema without references, and those that it is put together from."""
    written = follow(schema, root)
    yield (
        {**written, **schema} if isinstance(schema, Mapping) else written
    )  # what stands beside a reference counts
    if depth < _MAX_DEPTH:
        for union in _UNIONS:
            for branch in written.get(union) or ():
                yield from _branches(branch, root, depth + 1)


def _is_marked(schema: Schema) -> bool:
    return bool(schema.get("writeOnly")) or schema.get("format") == "password"


def _has_secret(schema: Any, root: Schema, seen: set[int]) -> bool:
    """Return whether a schema, or one that it leads to, is that of a secret."""
    if not isinstance(schema, Mapping) or id(schema) in seen:
        return False
    seen.add(id(schema))
    if _is_marked(schema) or ("$ref" in schema and _has_secret(follow(schema, root), root, seen)):
        return True
    return any(_has_secret(inner, root, seen) for _, inner in subschemas(schema))


def _of_member(name: str, branches: list[Schema]) -> list[Any]:
    """Return the schemas that a member may have; none for one that no schema has."""
    found = [branch["properties"][name] for branch in branches if name in branch.get("properties", ())]
    for branch in branches:
        found += branch.get("patternProperties", {}).values()
        if isinstance(more := branch.get("additionalProperties"), Mapping):
            found.append(more)
    return found


def _of_item(index: int, branches: list[Schema]) -> list[Any]:
    """Return the schemas that an item may have."""
    found = []
    for branch in branches:
        prefix = branch.get("prefixItems", ())
        found += [prefix[index]] if index < len(prefix) else []
        if isinstance(branch.get("items"), Mapping):
            found.append(branch["items"])
    return found


def _is_of_type(schema: Schema, kinds: tuple[str, ...]) -> bool:
    types = schema.get("type", ())
    return any(kind == types or (not isinstance(types, str) and kind in types) for kind in kinds)
