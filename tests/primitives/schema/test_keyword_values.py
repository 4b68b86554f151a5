"""Generated schemas with a wrong keyword are refused when the tool is registered, and say where and what."""

from typing import Annotated, Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema_specifications import REGISTRY
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from enfilade.primitives.schema.core_nodes import AnnotationError
from enfilade.primitives.schema.keyword_values import refuse_wrong_keywords
from enfilade.primitives.tool import Tool, tool_from_function
from enfilade.serving.context import Context


class WithField(BaseModel):
    a: int = Field(1, json_schema_extra={"required": True})


class WithConfig(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": {"a": 1}})
    a: int = 1


class WithHook(BaseModel):
    a: int = 1

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler.resolve_ref_schema(handler(core_schema)), "required": "a"}


WRONG = {
    "required": Annotated[int, Field(json_schema_extra={"required": True})],
    "type": Annotated[int, WithJsonSchema({"type": "int"})],
    "enum": Annotated[int, Field(json_schema_extra={"enum": "ab"})],
    "no-enum": Annotated[int, Field(json_schema_extra={"enum": []})],
    "examples": Annotated[int, Field(json_schema_extra={"examples": "abc"})],
    "title": Annotated[int, Field(json_schema_extra={"title": 5})],
    "anyOf": Annotated[int, Field(json_schema_extra={"anyOf": []})],
    "items": Annotated[list[int], Field(json_schema_extra={"items": "integer"})],
    "properties": Annotated[int, Field(json_schema_extra={"properties": ["a"]})],
    "readOnly": Annotated[int, Field(json_schema_extra={"readOnly": "yes"})],
    "format": Annotated[str, Field(json_schema_extra={"format": 5})],
    "minItems": Annotated[list[int], Field(json_schema_extra={"minItems": -1})],
    "dialect": Annotated[int, Field(json_schema_extra={"$schema": "http://json-schema.org/draft-04/schema#"})],
    "field": WithField,
    "in-list": list[WithField],
    "config": WithConfig,
    "hook": WithHook,
}


def tool(annotation: Any, *, returns: bool = False, default: Any = ...) -> Tool:
    def function(value: Any) -> Any: ...

    function.__annotations__ = {"value": int, "return": annotation} if returns else {"value": annotation}
    if default is not ...:
        function.__defaults__ = (default,)
    return tool_from_function(function, context_type=Context)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_keywords_are_refused(name: str) -> None:
    for default in (..., None):
        with pytest.raises(TypeError, match=r'function\(\), parameter "value[^"]*": its JSON Schema gives "'):
            tool(WRONG[name], default=default)
    with pytest.raises(TypeError, match=r'function\(\), the result: .*its JSON Schema gives "'):
        tool(WRONG[name], returns=True)


def test_the_message_names_the_place_and_what_to_correct() -> None:
    with pytest.raises(TypeError) as caught:
        tool(dict[str, WithField])
    assert str(caught.value) == (
        'tool.function(), parameter "value.a": '
        'its JSON Schema gives "required" boolean true, which should be an array of different strings; '
        "correct json_schema_extra, WithJsonSchema, __get_pydantic_json_schema__ or an option of its Field"
    )


def test_a_default_that_is_a_field_is_read_too() -> None:
    def function(value: int = Field(json_schema_extra={"required": True})) -> int: ...  # type: ignore[empty-body]

    with pytest.raises(TypeError, match=r'parameter "value": its JSON Schema gives "required"'):
        tool_from_function(function, context_type=Context)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"$ref": "#/definitions/x"}, 'refers to "#/definitions/x", which is not in it'),
        ({"type": int}, "cannot be made"),
    ],
    ids=["reference", "no-json"],
)
def test_what_pydantic_cannot_write_is_not_blamed_on_the_type(extra: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=f"its JSON Schema {words}"):
        tool(Annotated[int, Field(json_schema_extra=extra)])


# Values that the keywords may get, right and wrong ones.
VALUES: list[Any] = [
    *(None, True, 0, 3, -1, 1.5, "integer", "text", [], ["integer"], ["a", "a"], [1], {}, {"a": {}}, {"a": 1}),
    *({"a": ["b"]}, [{}], [True], ["a", "b"], {"a": True}),
]
# What pydantic's own schemas may hold there, and `portable` removes or replaces.
LEFT_TO_OTHERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
LEFT_TO_OTHERS |= {"minLength", "maxLength"}
SAID_OTHERWISE = {"$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$ref", "$schema", "$vocabulary", "pattern"}


def keywords_of_the_meta_schema() -> list[str]:
    store = Draft202012Validator.META_SCHEMA["allOf"]
    names: set[str] = {"definitions"}
    for part in store:
        vocabulary = REGISTRY.contents("https://json-schema.org/draft/2020-12/" + part["$ref"])
        names |= vocabulary.get("properties", {}).keys()
    return sorted(names - LEFT_TO_OTHERS - SAID_OTHERWISE)


@pytest.mark.parametrize("keyword", keywords_of_the_meta_schema())
def test_no_value_that_the_meta_schema_refuses_is_taken(keyword: str) -> None:
    for value in VALUES:
        try:
            refuse_wrong_keywords({keyword: value}, of_arguments=False)
        except AnnotationError:
            continue
        assert Draft202012Validator(Draft202012Validator.META_SCHEMA).is_valid({keyword: value}), value
