"""What is published, compared with its schema: the one of the tests, and the official one where it is at hand.

Those of the tests say in their own words what the official ones and the registry demand, and allow no further
members. The official ones are looked for beside those of the protocol: `server-card/v1/schema.json` and
`server.json/2025-12-11/schema.json`.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from support.schemas.official_schemas import FOLDER

_OWN = Path(__file__).resolve().parents[2] / "publishing"
CARD, SERVER_JSON = "server_card_schema.json", "server_json_schema.json"
_OFFICIAL = {CARD: "server-card/v1", SERVER_JSON: "server.json/2025-12-11"}


def complaints(name: str, value: Any) -> list[str]:
    """Return what is wrong with a document."""
    errors = [error for validator in _validators(name) for error in validator.iter_errors(value)]
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]


@cache
def _validators(name: str) -> list[jsonschema.protocols.Validator]:
    schemas = [json.loads((_OWN / name).read_text(encoding="utf-8"))]
    official = FOLDER / _OFFICIAL[name] / "schema.json"
    if official.is_file():
        schema = json.loads(official.read_text(encoding="utf-8"))
        # That of a card is a set of types, without saying which of them a document has.
        schemas.append(schema if "$ref" in schema else {**schema, "$ref": "#/$defs/ServerCard"})
    return [jsonschema.validators.validator_for(schema)(schema) for schema in schemas]
