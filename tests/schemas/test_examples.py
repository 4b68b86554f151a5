"""The examples that the specification gives for each type, read with our types and written back.

Named by the folder they are in, which is the type's name in the schema.
"""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from enfilade.wire.client_requests import ElicitRequestFormParams, InputRequest
from enfilade.wire.message import Message, NotificationParams
from enfilade.wire.projection import encode
from enfilade.wire.revision_tables import PARAMS
from support.schemas import outgoing
from support.schemas.official_schemas import FOLDER, PRESENT, REQUIRED

REVISION = "2026-07-28"
MODULES = (
    *("client_requests", "content", "lifecycle", "message", "notifications"),
    *("prompts", "resources", "tools"),
)
TYPES: dict[str, Any] = {
    name: kind
    for module in MODULES
    for name, kind in vars(importlib.import_module(f"enfilade.wire.{module}")).items()
    if isinstance(kind, type) and issubclass(kind, Message)
}

#: Examples that their own schema does not quite describe: what our type adds to them, and what it does not keep.
ERRATA: dict[str, tuple[dict[str, Any], set[str]]] = {
    # lacks two fields that the schema requires of every ReadResourceResult (R-2A0)
    "read-resource-result-response": ({"ttlMs": 0, "cacheScope": "private"}, set()),
    # has the id of a request that would travel alone, which no longer exists
    "list-roots-request": ({}, {"id"}),
}

#: Maps, which are fields of ours rather than types.
MAPS = {"InputRequests": dict[str, InputRequest], "InputResponses": dict[str, msgspec.Raw]}

#: JSON Schema, which stays a dict.
SCHEMAS = ("Schema",)


def _examples() -> Iterator[Any]:
    for path in sorted((FOLDER / REVISION / "examples").glob("*/*.json")) if PRESENT else ():
        yield pytest.param(path.parent.name, path, id=f"{path.parent.name}-{path.stem}")
    if not PRESENT:
        reason = f"no schemas in {FOLDER} (ENFILADE_SCHEMAS names the folder)"
        yield pytest.param("", FOLDER, id="absent", marks=() if REQUIRED else pytest.mark.skip(reason))


def _unwrapped(name: str, example: dict[str, Any]) -> tuple[str | None, Any]:
    """Return the type name and the value of what the envelope of an example holds."""
    if "error" in example or "code" in example:
        return None, example
    if name.endswith("ResultResponse"):
        result = example["result"]
        asks = result.get("resultType") == "input_required"
        return "InputRequiredResult" if asks else name.removesuffix("Response"), result
    if example.get("jsonrpc") and "params" in example:
        kind = PARAMS.get(example["method"]) or TYPES.get(f"{name}Params", NotificationParams)
        return kind.__name__, example["params"]
    return name, example


@pytest.mark.parametrize(("name", "path"), list(_examples()))
def test_example(name: str, path: Path) -> None:
    assert PRESENT, f"no schemas in {FOLDER}"
    kind_name, value = _unwrapped(name, json.loads(path.read_text("utf-8")))
    if kind_name is None:
        assert type((value.get("error") or value)["code"]) is int
        return
    if kind_name.endswith(SCHEMAS):
        field = {"type": "object", "properties": {"field": value}}
        form = ElicitRequestFormParams(message="?", requested_schema=field)
        assert json.loads(encode(form, REVISION))["requestedSchema"] == field
        return
    decoded = msgspec.json.decode(json.dumps(value), type=MAPS.get(kind_name) or TYPES[kind_name])
    added, lost = ERRATA.get(path.stem, ({}, set()))
    expected = {key: part for key, part in (added | value).items() if key not in lost}
    assert json.loads(msgspec.json.encode(decoded)) == expected
    if isinstance(decoded, Message) and outgoing.is_outgoing(type(decoded)):
        assert json.loads(encode(decoded, REVISION)) == expected
