"""`refused_annotations.py`: annotations that are not types, or of which there is no value, anywhere in a type."""

import re
from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Any,
    ClassVar,
    Concatenate,
    Final,
    Generic,
    Literal,
    Never,
    NoReturn,
    Optional,
    ParamSpec,
    Required,
    TypeAlias,
    TypeVar,
    TypeVarTuple,
    Union,
)

import pytest
from pydantic import BaseModel

from enfilade import MCPApp

T = TypeVar("T")
Bound = TypeVar("Bound", bound=int)
Either = TypeVar("Either", int, str)
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")


class Page(BaseModel, Generic[T]):
    items: list[T]


NO_TYPES: dict[str, tuple[Any, str]] = {
    "list of never": (list[Never], "no value is of the type Never in list[Never]; annotate what is sent"),
    "map to never": (dict[str, NoReturn], "no value is of the type NoReturn in dict[str, NoReturn]"),
    "tuple of never": (tuple[Never, ...], "no value is of the type Never in tuple[Never, ...]"),
    "sequence in a list": (list[Sequence[Never]], "no value is of the type Never in list[Sequence[Never]]"),
    "ellipsis": (..., "the annotation ... is no type; write one, such as list[int], int | str or Literal[3]"),
    "list of ellipsis": (list[...], "the annotation list[...] is no type"),  # type: ignore[misc]
    "map to ellipsis": (dict[str, ...], "the annotation dict[str, ...] is no type"),  # type: ignore[misc]
    "not implemented": (NotImplemented, "the annotation NotImplemented is no type"),
    "object": (Page[int](items=[]), "the annotation Page[int](...) is no type"),
    "function": (len, "the annotation len() is no type"),
    "module": (re, "the annotation module(...) is no type"),
    "numbers in a tuple": (tuple[3, 4], "the annotation tuple[3, 4] is no type"),  # type: ignore[valid-type]
    "number in a mapping": (Mapping[str, 3], "the annotation Mapping[str, 3] is no type"),  # type: ignore[valid-type]
    "variable": (T, "the type variable T says nothing about the value; annotate a type, Any for every value, or"),
    "list of variable": (list[T], "the type variable T in list[T] says nothing about the value"),  # type: ignore[valid-type]
    "parameters": (P, "P stands for parameters, not for a value; annotate a type"),
    "arguments": (P.args, "P.args stands for parameters, not for a value"),
    "variables": (Ts, "Ts stands for parameters, not for a value"),
    "literal": (Literal, 'Literal alone is no type; write what it is of, such as Literal["a", "b"]'),
    "list of literal": (list[Literal], "Literal alone is no type"),  # type: ignore[valid-type]
    "union": (Union, "Union alone is no type; write what it is of, such as int | str"),
    "optional": (Optional, "Optional alone is no type; write what it is of, such as int | None"),
    "annotated": (Annotated, 'Annotated alone is no type; write what it is of, such as Annotated[int, "text"]'),
    "generic": (Generic, "Generic alone is no type"),
    "concatenate": (Concatenate, "Concatenate alone is no type"),
    "alias": (TypeAlias, "TypeAlias alone is no type"),
    "class variable": (ClassVar, "ClassVar is about the field of a class; write its type in its place"),
    "constant": (Final[int], "Final[int] is about the field of a class; write int in its place"),
    "list of required": (
        list[Required[int]],
        "Required[int] in list[Required[int]] is about the field of a class",
    ),
}


@pytest.mark.parametrize(("annotation", "words"), NO_TYPES.values(), ids=NO_TYPES)
def test_what_is_no_type_is_refused_with_its_place_and_advice(annotation: Any, words: str) -> None:
    def fn(x: Any) -> Any: ...

    app = MCPApp()
    fn.__annotations__ = {"x": annotation}
    with pytest.raises(TypeError, match=re.escape(f'fn(), parameter "x": {words}')):
        app.add_tool(fn)
    fn.__annotations__ = {"x": int, "return": annotation}
    with pytest.raises(TypeError, match=re.escape(f"fn(), the result: {words}")):
        app.add_tool(fn)
    assert app.offered_names() == []


TYPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "whole numbers or never": (Union[int, Never], {"type": "integer"}),  # noqa: RUF020, UP007
    "null or never": (
        list[Union[NoReturn, int, None]],  # noqa: RUF020, UP007
        {"items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
    ),
    "tuple": (tuple[int, ...], {"items": {"type": "integer"}}),
    "bound": (Bound, {"type": "integer"}),
    "constraints": (list[Either], {"items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}),  # type: ignore[valid-type]
    "generic model": (Page[int], {"properties": {"items": {"items": {"type": "integer"}, "type": "array"}}}),
    "anything": (Any, {}),
    "choice": (Literal[3], {"const": 3, "type": "integer"}),
}


@pytest.mark.parametrize(("annotation", "schema"), TYPES.values(), ids=TYPES)
def test_types_beside_them_are_taken(annotation: Any, schema: dict[str, Any]) -> None:
    def fn(x: Any) -> Any: ...

    fn.__annotations__ = {"x": annotation, "return": annotation}
    published = MCPApp().add_tool(fn).definition.input_schema["properties"]["x"]
    assert {key: published[key] for key in schema} == schema


def test_a_tool_that_never_returns_needs_no_other_annotation() -> None:
    def fn() -> NoReturn:
        raise ValueError

    assert MCPApp().add_tool(fn).name == "fn"


class Store(Generic[T]):
    def put(self, value: T) -> list[T]:
        return [value]


class Numbers(Store[int]): ...


@pytest.mark.parametrize("store", [Numbers(), Store[int]()], ids=["subclass", "type argument"])
def test_a_method_of_a_generic_class_has_the_types_of_its_object(store: Store[int]) -> None:
    definition = MCPApp().add_tool(store.put).definition
    assert definition.input_schema["properties"] == {"value": {"type": "integer"}}
    assert definition.output_schema["properties"] == {"result": {"items": {"type": "integer"}, "type": "array"}}


def test_a_method_of_a_generic_class_without_its_types_is_refused() -> None:
    with pytest.raises(TypeError, match=r'Store.put\(\), parameter "value": the type variable T says nothing'):
        MCPApp().add_tool(Store().put)
