"""Facts about a JSON Schema: how deep it is, what it refers to, where it uses which keyword.

Easy to get wrong: a property may be called `$ref` or `oneOf`. They count where schemas stand, and nowhere else.
"""

from collections.abc import Mapping
from typing import Final

import jsonschema_rs

from enfilade.primitives.schema.json_schema import refuse_elsewhere
from enfilade.primitives.schema.schema_walk import Schema, everything, inner

#: Keywords that lead to a value within the value, and so make it deeper.
_INWARD: Final = frozenset({"properties", "items", "additionalProperties", "patternProperties", "prefixItems"})


def references(schema: Schema) -> list[str]:
    """Return what a schema and those within it refer to."""
    return [each["$ref"] for each in everything(schema) if isinstance(each.get("$ref"), str)]


def depth(schema: Schema) -> int:
    """Return how many levels of objects and arrays there are, definitions left aside."""
    return max(
        (depth(each) + (key in _INWARD) for key, each in inner(schema) if key not in ("$defs", "definitions")),
        default=0,
    )


def is_recursive(schema: Schema) -> bool:
    """Whether a definition leads back to itself, or a schema to its own root."""
    leads: dict[str, set[str]] = {"#": set(references(_without_definitions(schema)))}
    for key in ("$defs", "definitions"):
        for name, each in (schema.get(key) or {}).items():
            leads[f"#/{key}/{name}"] = set(references(each)) if isinstance(each, Mapping) else set()

    def back(start: str) -> bool:
        seen: set[str] = set()
        open_: list[str] = list(leads[start])
        while open_:
            at = open_.pop()
            if at == start:
                return True
            if at not in seen:
                seen.add(at)
                open_.extend(leads.get(at, ()))
        return False

    return any(back(start) for start in leads)


def complaint(schema: Schema) -> str | None:
    """Return why something is no valid JSON Schema (2020-12 unless it says otherwise), or None."""
    if any(not each.startswith("#") for each in references(schema)):
        return None  # which is a fault of its own
    try:
        # This alone looks at the schema as well: `meta.validate` would fetch what a stranger's `$schema` names.
        jsonschema_rs.validator_for(dict(schema), retriever=refuse_elsewhere)
    except ValueError as error:
        return str(getattr(error, "message", error)).splitlines()[0]
    return None


def _without_definitions(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
