"""What is published of choices, alternatives, keys and steps is no more and no less than what holds."""

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic.json_schema import SkipJsonSchema

from enfilade.primitives.tool import Tool, tool_from_function
from enfilade.serving.context import Context


def tool_of(annotation: Any, default: Any = ...) -> Tool:
    """Return a tool that takes and returns a type."""

    def tool(x: Any) -> Any: ...

    tool.__annotations__ = {"x": annotation, "return": annotation}
    tool.__defaults__ = None if default is ... else (default,)
    return tool_from_function(tool, context_type=Context)


def taken(annotation: Any, default: Any = ...) -> dict[str, Any]:
    part: dict[str, Any] = tool_of(annotation, default).definition.input_schema["properties"]["x"]
    return part


def sent(annotation: Any) -> Any:
    schema: Any = tool_of(annotation).definition.output_schema
    result: Any = schema["properties"].get("result", schema)
    return result


def test_a_default_that_is_a_multiple_of_its_step_is_published() -> None:
    assert taken(Annotated[float, Field(multiple_of=0.01)], 1.11)["default"] == 1.11


def test_steps_that_no_binary_fraction_meets_are_not_published() -> None:
    assert "multipleOf" not in taken(Annotated[float, Field(multiple_of=0.01)])
    assert taken(Annotated[float, Field(multiple_of=0.25)])["multipleOf"] == 0.25
    assert taken(Annotated[int, Field(multiple_of=5)])["multipleOf"] == 5


class Aliased(Enum):
    YES = 1
    SURE = 1  # noqa: PIE796 - an alias
    NO = "1"


def test_a_choice_names_each_value_once() -> None:
    assert taken(Aliased)["enum"] == [1, "1"]
    extra = Field(json_schema_extra={"enum": [True, 1, 1.0, "a", "a"]})
    assert taken(Annotated[Any, extra])["enum"] == [True, 1, "a"]


def test_limits_of_keys_are_published_and_nothing_is_said_of_other_keys() -> None:
    limited = taken(dict[Annotated[str, Field(min_length=2, max_length=5)], int])
    assert limited["propertyNames"] == {"minLength": 2, "maxLength": 5}
    assert "propertyNames" not in taken(dict[str, int])


def test_items_of_a_set_are_no_arrays_and_objects() -> None:
    hashable = {"anyOf": [{"type": name} for name in ("string", "number", "boolean", "null")]}
    assert taken(set[Any])["items"] == taken(frozenset)["items"] == hashable
    assert taken(set[int])["items"] == {"type": "integer"}


class North(BaseModel):
    a: int = 0


class South(BaseModel):
    b: int = 0


class Near(BaseModel):
    kind: Literal["near"] = Field("near", exclude=True)


class Far(BaseModel):
    kind: Literal["far"] = Field("far", exclude=True)


class Wet(BaseModel):
    kind: Literal["wet"]


class Dry(BaseModel):
    kind: Literal["dry"]


def side_of(value: Any) -> str:
    return "north" if "a" in value else "south"


BY_FUNCTION = Annotated[Annotated[North, Tag("north")] | Annotated[South, Tag("south")], Discriminator(side_of)]


def test_alternatives_that_a_value_may_share_are_no_one_of() -> None:
    assert "anyOf" in taken(BY_FUNCTION)
    assert "anyOf" in sent(BY_FUNCTION)
    excluded = Annotated[Near | Far, Field(discriminator="kind")]
    assert "oneOf" in taken(excluded)
    assert "anyOf" in sent(excluded)
    tagged = Annotated[Wet | Dry, Field(discriminator="kind")]
    assert "oneOf" in taken(tagged)
    assert "oneOf" in sent(tagged)


class Hiding(BaseModel):
    model_config = ConfigDict(extra="forbid")
    shown: int | SkipJsonSchema[None] = None
    hidden: SkipJsonSchema[int] = 5


def test_what_is_left_out_of_schemas_is_published_where_it_is_sent() -> None:
    properties = sent(Hiding)["properties"]
    assert properties["shown"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
    assert properties["hidden"]["type"] == "integer"
    assert taken(Hiding)["properties"].keys() == {"shown"}
