"""Deferrable types are surely right, and a tool of them behaves the same although it is built later."""

import enum
from typing import Annotated, Any, Dict, List, Literal, Optional, TypedDict, Union  # noqa: UP035

import pytest
from msgspec import Raw
from pydantic import BaseModel, Field, TypeAdapter

from enfilade.primitives.schema.annotations import is_deferrable
from enfilade.primitives.schema.signature import EMPTY, Parameter, is_deferrable_parameter
from enfilade.primitives.tool import Tool, tool_from_function
from enfilade.primitives.values.arguments import ArgumentReader
from enfilade.primitives.values.structured_output import TypedWriter, writer_for


class Colour(enum.StrEnum):
    RED = "red"


class Aliased(enum.Enum):
    RED = "red"
    CRIMSON = "red"  # noqa: PIE796


class Numbers(enum.Enum):
    HALF = 0.5


class Looser(enum.StrEnum):
    RED = "red"

    @classmethod
    def _missing_(cls, value: object) -> "Looser":
        return cls.RED


class Model(BaseModel):
    x: int


class Typed(TypedDict):
    x: int


class Text(str):
    pass


class Context:
    pass


PLAIN: list[Any] = [
    *(str, int, float, bool, None, type(None), Any, list, dict, List, Dict),  # noqa: UP006
    *(list[str], list[list[int]], dict[str, int], dict[str, list[Any]], List[str], Dict[str, bool]),  # noqa: UP006
    *(str | None, int | list[str], Optional[int], Union[str, dict[str, Any]], Literal["a", 1, None]),  # noqa: UP007, UP045
    *(Colour, list[Colour], Colour | None),
]
OTHERS: list[Any] = [
    *(Model, Typed, Aliased, Numbers, Looser, Text, object, bytes, set[str], tuple[int, ...], type, complex),
    *(list[Model], dict[int, str], str | Model, Literal[Colour.RED], list[object]),
    *(Annotated[int, Field(ge=1)], list[Annotated[int, Field(ge=1)]], "str", print, EMPTY),
]


@pytest.mark.parametrize("annotation", PLAIN, ids=str)
def test_what_is_plain_can_be_read_and_described(annotation: Any) -> None:
    assert is_deferrable(annotation)
    TypeAdapter(annotation).json_schema()
    parameters = [Parameter("x", annotation, EMPTY), Parameter("y", annotation, None)]
    assert all(map(is_deferrable_parameter, parameters))
    ArgumentReader("f", parameters, descriptions={}, label="f()")
    writer_for(annotation, label="f()")


@pytest.mark.parametrize("annotation", OTHERS, ids=str)
def test_the_rest_is_not(annotation: Any) -> None:
    assert not is_deferrable(annotation)
    assert not is_deferrable_parameter(Parameter("x", annotation, EMPTY))


@pytest.mark.parametrize(
    ("annotation", "default", "plain"),
    [
        (str, "a", True),
        (float, 0.5, True),
        (float, float("inf"), False),
        (float, float("nan"), False),
        (str, Colour.RED, False),
        (Colour, Colour.RED, True),
        (Colour | None, Colour.RED, True),
        (str, Text("a"), False),
        (list, [], False),
        (int, Field(ge=1), False),
        (Annotated[str, "what it is"], EMPTY, True),
        (Annotated[str, "what it is", Field(min_length=1)], EMPTY, False),
        (Annotated[Model, "what it is"], EMPTY, False),
    ],
)
def test_defaults_and_texts_count(annotation: Any, default: Any, plain: bool) -> None:
    assert is_deferrable_parameter(Parameter("x", annotation, default)) is plain


def made(fn: Any, **options: Any) -> Tool:
    return tool_from_function(fn, context_type=Context, **options)


def is_built(tool: Tool) -> bool:
    return bool(tool._define.cache_info().misses)  # type: ignore[attr-defined]  # it is a cached function


def test_a_plain_tool_is_built_when_it_is_first_listed_or_called() -> None:
    async def add(a: int, b: int = 1) -> int:
        return a + b

    listed, called, prepared = made(add), made(add), made(add)
    assert not is_built(listed)
    assert listed.definition is listed.definition
    assert called.bind(b'{"a": 2}', None) == {"a": 2, "b": 1}
    assert called.result(3).structured_content == Raw(b'{"result":3}')
    prepared.prepare()
    assert is_built(prepared)
    assert prepared.definition == listed.definition == called.definition


def model(x: Model) -> None: ...


def gives_model() -> Model: ...  # type: ignore[empty-body]


def test_any_other_is_built_when_it_is_registered() -> None:
    assert type(made(model)._reader) is ArgumentReader
    assert type(made(gives_model)._writer) is TypedWriter


def test_what_json_cannot_hold_is_refused_at_once() -> None:
    def say(text: Annotated[str, "\ud800"]) -> None: ...

    def again(text: str = "\ud800") -> None: ...

    def documented(text: str) -> None: ...

    # Since Python 3.13 no docstring in a source file can have this; one that is made can.
    documented.__doc__ = "Say.\n\nArgs:\n    text: it is \ud800.\n"

    for fn in (say, again, documented):
        with pytest.raises(ValueError, match="cannot be written as JSON"):
            made(fn)
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        made(lambda text: None, name="said", meta={"x": object()})
