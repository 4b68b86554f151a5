"""`references.py`: references are written out wherever they can be, within a limit for the size of a schema."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from enfilade import MCPApp
from enfilade.lint.schema_facts import is_recursive
from enfilade.primitives.schema.json_schema import SchemaChecker
from enfilade.primitives.schema.references import MAX_SUBSCHEMAS, inline_references, walk


class Place(BaseModel):
    """Somewhere."""

    name: str


class Trip(BaseModel):
    start: Annotated[Place, Field(description="Where it begins.")]
    stops: list[Place] = []


class Folder(BaseModel):
    at: Place
    inside: list["Folder"] = []


class Walk(BaseModel):
    kind: Literal["walk"] = "walk"


class Ride(BaseModel):
    kind: Literal["ride"] = "ride"


def chain(length: int) -> dict[str, Any]:
    """Return a schema whose definitions use each other twice: written out it has 2**length parts."""
    definitions: dict[str, Any] = {
        f"Link{n}": {"properties": {key: {"$ref": f"#/$defs/Link{n + 1}"} for key in "ab"}} for n in range(length)
    }
    return {
        "properties": {"x": {"$ref": "#/$defs/Link0"}},
        "$defs": {**definitions, f"Link{length}": {"type": "integer"}},
    }


def listed(annotation: Any, **options: Any) -> dict[str, Any]:
    """Return the input schema of a tool that takes and returns a type; the output schema is as portable."""
    app = MCPApp("test", **options)

    def tool(value: Any) -> Any: ...

    tool.__annotations__ = {"value": annotation, "return": annotation}
    made = app.add_tool(tool)
    definition = made.definition
    assert ("$defs" in definition.output_schema) == ("$defs" in definition.input_schema)  # type: ignore[operator]
    assert made.definition is definition  # made once
    return definition.input_schema


def test_a_model_is_written_out_where_it_is_used() -> None:
    place = {"type": "object", "title": "Place", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    schema = listed(Trip)
    assert "$defs" not in schema
    assert schema["properties"]["value"]["properties"] == {
        "start": {**place, "description": "Where it begins."},
        "stops": {"type": "array", "items": {**place, "description": "Somewhere."}, "default": []},
    }


def test_references_stay_where_they_are_asked_for() -> None:
    schema = listed(Trip, schema_refs=True)
    assert set(schema["$defs"]) == {"Trip", "Place"}
    assert schema["properties"]["value"] == {"$ref": "#/$defs/Trip"}


def test_what_leads_back_to_itself_stays_and_what_it_uses_does_not() -> None:
    schema = listed(Folder)
    assert list(schema["$defs"]) == ["Folder"]
    assert schema["$defs"]["Folder"]["properties"]["at"]["title"] == "Place"
    assert is_recursive(schema)


def test_a_hand_made_schema_is_published_as_it_is() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"type": "string"}},
    }
    schema["required"] = ["a"]

    def tool(a: str) -> str: ...

    assert MCPApp("test").add_tool(tool, input_schema=schema).definition.input_schema == schema


def test_alternatives_by_a_tag_say_that_the_tag_must_come() -> None:
    schema = listed(Annotated[Walk | Ride, Field(discriminator="kind")])
    (walk, ride) = schema["properties"]["value"]["oneOf"]
    assert walk["required"] == ride["required"] == ["kind"]
    assert "discriminator" not in schema["properties"]["value"]


@pytest.mark.parametrize("length", [12, 40])
def test_a_schema_never_explodes(length: int) -> None:
    schema = chain(length)
    made = inline_references(schema)
    assert len(list(walk(made))) <= max(MAX_SUBSCHEMAS, len(list(walk(schema))))
    SchemaChecker(made)  # every reference leads somewhere


def test_what_is_used_once_is_written_out_however_large() -> None:
    many = {f"p{n}": {"type": "integer"} for n in range(MAX_SUBSCHEMAS)}
    schema = {"properties": {"x": {"$ref": "#/$defs/Big"}}, "$defs": {"Big": {"properties": many}}}
    assert inline_references(schema) == {"properties": {"x": {"properties": many}}}


def test_what_stands_beside_a_reference_and_contradicts_holds_as_well() -> None:
    schema = {"properties": {"x": {"$ref": "#/$defs/A", "minimum": 5}}, "$defs": {"A": {"minimum": 3}}}
    assert inline_references(schema) == {"properties": {"x": {"allOf": [{"minimum": 3}], "minimum": 5}}}


def test_a_property_called_ref_is_none() -> None:
    schema = {"properties": {"$ref": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "integer"}}}
    assert inline_references(schema) == {"properties": {"$ref": {"type": "integer"}}}


def test_a_property_may_be_called_defs() -> None:
    schema = {"properties": {"$defs": {"type": "object"}}}
    assert inline_references(schema) == schema
