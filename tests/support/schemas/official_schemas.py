"""The official JSON Schema of each revision, and a stricter reading of it.

The schemas leave their objects open, so a field of a newer revision passes in an older one. `closed` shuts every
object whose properties a schema lists, which turns it into the vocabulary of its revision.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

_FOLDER = os.environ.get("ENFILADE_SCHEMAS")
FOLDER = Path(_FOLDER) if _FOLDER else Path(__file__).resolve().parents[4] / "shared" / "schema"
PRESENT = (FOLDER / "2026-07-28" / "schema.json").is_file()
REQUIRED = os.environ.get("CI") == "true"

#: For tests that are about the schemas themselves. In CI there is no excuse for their absence.
needs_schemas = pytest.mark.skipif(
    not PRESENT and not REQUIRED, reason=f"no schemas in {FOLDER} (ENFILADE_SCHEMAS names the folder)"
)

# Objects that list some properties and still leave room for those of authors or of extensions.
_OPEN = {"MetaObject", "RequestMetaObject", "ResultMetaObject", "NotificationMetaObject"}
_OPEN |= {"SubscriptionsListenResultMetaObject", "Result", "EmptyResult", "JSONObject"}
_OPEN_PROPERTIES = {"_meta", "inputSchema", "outputSchema", "experimental", "extensions", "tasks", "metadata"}


@cache
def definitions(revision: str) -> dict[str, Any]:
    """Return the named types of a revision's schema."""
    schema = _load(revision)
    types: dict[str, Any] = schema.get("$defs") or schema["definitions"]
    return types


@cache
def validator(revision: str, name: str, *, closed: bool = False) -> jsonschema.protocols.Validator:
    """Return a compiled validator for one named type of a revision."""
    schema = _load(revision)
    section = "$defs" if "$defs" in schema else "definitions"
    types = _closed(revision) if closed else schema[section]
    kind = jsonschema.validators.validator_for(schema)
    return kind({"$schema": schema["$schema"], section: types, "$ref": f"#/{section}/{name}"})


def complaint(revision: str, name: str, value: Any, *, closed: bool = False) -> str | None:
    """Return what is wrong with a value of a named type, or None."""
    error = jsonschema.exceptions.best_match(validator(revision, name, closed=closed).iter_errors(value))
    return error and f"{error.json_path}: {error.message[:300]}"


@cache
def _load(revision: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((FOLDER / revision / "schema.json").read_text("utf-8"))
    return schema


@cache
def _closed(revision: str) -> dict[str, Any]:
    types = {
        name: kind if name in _OPEN else _shut(_joined(kind, revision), is_params=name.endswith("Params"))
        for name, kind in definitions(revision).items()
    }
    if revision == "2025-11-25":  # C-15: extensions were agreed on before the schema knew them
        types["ServerCapabilities"]["properties"]["extensions"] = {"type": "object"}
    return types


def _joined(schema: dict[str, Any], revision: str) -> dict[str, Any]:
    """Return a type that is a conjunction of named types as one type with the properties of all of them."""
    if not all("$ref" in member for member in schema.get("allOf", [{}])):
        return schema
    members = [definitions(revision)[member["$ref"].rpartition("/")[2]] for member in schema["allOf"]]
    return {
        "type": "object",
        "properties": {name: kind for member in members for name, kind in member["properties"].items()},
        "required": [name for member in members for name in member.get("required", [])],
    }


def _shut(schema: Any, *, is_params: bool = False) -> Any:
    """Return a copy of a schema in which objects have no properties but those listed.

    Parameters may always carry `_meta`: the generic request and notification say so, where the single ones of
    older revisions do not repeat it. A conjunction within a type (those of errors) stays as it is.
    """
    if isinstance(schema, list):
        return [_shut(item) for item in schema]
    if not isinstance(schema, dict) or "allOf" in schema:
        return schema
    shut = {key: _shut(value) for key, value in schema.items() if key != "properties"}
    properties = schema.get("properties")
    if isinstance(properties, dict):
        shut["properties"] = {
            name: value if name in _OPEN_PROPERTIES else _shut(value, is_params=name == "params")
            for name, value in properties.items()
        }
        if properties and "additionalProperties" not in schema:
            shut["additionalProperties"] = False
            if is_params:
                shut["properties"].setdefault("_meta", {"type": "object"})
    return shut
