"""`type_aliases.py` and what parameters make of it: dependencies, the context, texts and types behind aliases."""

import functools
import sys
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    LiteralString,
    Never,
    NewType,
    NoReturn,
    NotRequired,
    Self,
    TypeVar,
)

import msgspec
import pytest
from pydantic import BaseModel, Discriminator, Field, Tag
from typing_extensions import TypeAliasType, TypedDict

from enfilade.primitives.depends import Depends
from enfilade.primitives.errors import ArgumentsError
from enfilade.primitives.schema.type_aliases import parts_of, rewritten, strip
from support.servers.tools_in_process import CONTEXT, Context, make, received

T = TypeVar("T")
U = TypeVar("U")


def user() -> str:
    return "ann"


def other() -> str:
    return "bob"


Injected = TypeAliasType("Injected", Annotated[T, Depends(user)], type_params=(T,))
Swapped = TypeAliasType("Swapped", Annotated[tuple[U, T], Depends(user)], type_params=(T, U))
Behind = TypeAliasType("Behind", Injected[list[T]], type_params=(T,))
Plain = TypeAliasType("Plain", Annotated[str, Depends(user)])
Same = TypeAliasType("Same", T, type_params=(T,))
Maybe = TypeAliasType("Maybe", T | None, type_params=(T,))
Described = TypeAliasType("Described", Annotated[int, "how many"])
Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str")
Quoted = TypeAliasType("Quoted", "Annotated[str, Depends(user)]")
Cyclic = TypeAliasType("Cyclic", "Cyclic")
CyclicUnion = TypeAliasType("CyclicUnion", "CyclicUnion | int")


def taking(annotation: Any, **options: Any) -> Any:
    def fn(x: Any, y: int = 1) -> Any:
        return x

    fn.__annotations__["x"] = annotation
    return make(fn, **options)


def properties(tool: Any) -> dict[str, Any]:
    found: dict[str, Any] = tool.definition.input_schema["properties"]
    return found


@pytest.mark.parametrize(
    "annotation",
    [
        Plain,
        Injected[str],
        Quoted,
        Same[Quoted],
        Swapped[str, int],
        Behind[str],
        Same[Plain],
        Same[Injected[str]],
        Annotated[Plain, "a text"],
        Annotated[Injected[str], "a text"],
    ],
    ids=str,
)
def test_a_dependency_behind_an_alias_is_no_argument(annotation: Any) -> None:
    tool = taking(annotation)
    assert list(properties(tool)) == ["y"]
    assert [name for name, _ in tool.dependencies] == ["x"]


class Model(BaseModel):
    name: Plain


class Typed(TypedDict):
    name: Injected[str]


@dataclass
class Data:
    name: Annotated[str, Depends(user)]


class Record(msgspec.Struct):
    name: Annotated[str, Depends(user)]


@pytest.mark.parametrize(
    "annotation",
    [
        list[Plain],
        list[Injected[str]],
        dict[str, list[Behind[str]]],
        Injected[str] | None,
        Maybe[Injected[str]],
        NewType("Named", Annotated[str, Depends(user)]),
        list[Model],
        Typed,
        Data | None,
        Record,
    ],
    ids=str,
)
def test_a_dependency_inside_of_a_type_is_refused(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r'fn\(\), parameter "x": Depends stands inside'):
        taking(annotation)


def test_the_outermost_of_two_dependencies_counts() -> None:
    tool = taking(Annotated[Injected[str], Depends(other)])
    ((_, provider),) = tool.dependencies
    assert provider.fn is other


def test_a_provider_that_cannot_be_called_is_no_dependency() -> None:
    with pytest.raises(TypeError, match="cannot be a dependency"):
        taking(Annotated[str, Depends(5)])  # type: ignore[arg-type]


@pytest.mark.parametrize("annotation", [Same[Context], Maybe[Context], Annotated[Same[Context], "text"]], ids=str)
def test_the_context_behind_an_alias_with_arguments(annotation: Any) -> None:
    tool = taking(annotation)
    assert list(properties(tool)) == ["y"]
    assert received(tool, {}) is CONTEXT


@pytest.mark.parametrize("annotation", [Described, Same[Described], Annotated[Described, Field(ge=0)]], ids=str)
def test_an_alias_keeps_its_text(annotation: Any) -> None:
    assert properties(taking(annotation))["x"]["description"] == "how many"


def test_a_recursive_alias_is_a_type() -> None:
    local = TypeAliasType("local", "list[local] | str")  # type: ignore[misc]
    assert received(taking(local), {"x": [["b"]]}) == [["b"]]
    assert received(taking(Json), {"x": {"a": ["b"]}}) == {"a": ["b"]}


@pytest.mark.parametrize(
    "annotation",
    [Cyclic, CyclicUnion, Cyclic | None, list[CyclicUnion], Annotated[Cyclic, "text"]],
    ids=str,
)
def test_an_alias_of_itself_is_refused_by_name(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r'fn\(\), parameter "x": the type alias Cyclic.* refers to itself'):
        taking(annotation)


def test_an_alias_of_an_unknown_name_is_refused_by_name() -> None:
    bad = TypeAliasType("Bad", "Nope")  # type: ignore[name-defined]  # noqa: F821
    with pytest.raises(TypeError, match=r'fn\(\), parameter "x": the type alias Bad cannot .* "Nope"'):
        taking(bad)


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def method(self, others: list[Self] | None = None) -> Any:
        return others

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.int_schema())


class Shape(BaseModel):
    side: int

    def larger(self, other: Self) -> Self:
        return self if self.side > other.side else other

    @classmethod
    def made(cls, like: Self) -> list[Self]:
        return [like]

    def __call__(self, other: Self) -> int:
        return other.side


class Square(Shape):
    pass


@pytest.mark.parametrize(
    ("fn", "kind"),
    [
        pytest.param(Shape(side=2).larger, Shape, id="method"),
        pytest.param(Square(side=2).larger, Square, id="of a subclass"),
        pytest.param(functools.partial(Shape(side=2).larger), Shape, id="partial"),
    ],
)
def test_self_is_the_class_of_the_object(fn: Any, kind: type) -> None:
    tool = make(fn)
    value = received(tool, {"other": {"side": 5}})
    assert type(value) is kind
    assert value.side == 5
    assert properties(tool)["other"]["properties"]["side"] == {"type": "integer"}
    assert tool.definition.output_schema["properties"]["side"] == {"type": "integer"}


def test_self_elsewhere_in_methods() -> None:
    assert received(make(Shape.made), {"like": {"side": 1}}) == [Shape(side=1)]
    assert received(make(Shape(side=1), name="call"), {"other": {"side": 3}}) == 3
    (found,) = received(make(Point(1).method), {"others": [4]})
    assert found.x == 4


def test_self_of_a_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r'fn\(\), parameter "x": Self stands for a class'):
        taking(list[Self])


@pytest.mark.parametrize(
    "annotation",
    [
        *([int], 3, (int, str), {"a": int}, print, pytest, list[print], Never, NoReturn),  # type: ignore[valid-type]
        *(Final[int], ClassVar[int], NotRequired[int]),
    ],
    ids=str,
)
def test_what_is_no_type_of_a_parameter_is_refused_by_name(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r'fn\(\), parameter "x": '):
        taking(annotation)


@pytest.mark.parametrize("annotation", [LiteralString, list[LiteralString]], ids=str)
def test_a_literal_string_is_a_string(annotation: Any) -> None:
    tool = taking(annotation)
    assert "string" in str(properties(tool)["x"])


def test_parts_and_rewriting() -> None:
    assert {int, str} < set(map(strip, parts_of(dict[str, Maybe[int]] | None)))
    swapped = rewritten(dict[str, Annotated[list[int] | None, "x"]], lambda part: str if part is int else part)
    assert swapped == dict[str, Annotated[list[str] | None, "x"]]


NATIVE = """
import msgspec
from typing import Annotated
from enfilade.primitives.depends import Depends
def user() -> str: return "ann"
type Injected[T] = Annotated[T, Depends(user)]
type Same[T] = T
type Cyclic = Cyclic
type CyclicUnion = CyclicUnion | int
type Unknown = Nowhere
class Chain[T](msgspec.Struct):
    value: T
    next: "Chain[T] | None" = None
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is newer")
def test_aliases_and_classes_in_the_syntax_of_python_3_12(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("native_types")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = vars(module)
    exec(NATIVE, names)
    for annotation in (names["Injected"][str], names["Same"][names["Injected"][str]], names["Same"][Context]):
        assert list(properties(taking(annotation))) == ["y"]
    for name in ("Cyclic", "CyclicUnion", "Unknown"):
        with pytest.raises(TypeError, match=rf'parameter "x": the type alias {name}'):
            taking(names[name])
    chain = received(taking(names["Chain"][int]), {"x": {"value": 1, "next": {"value": 2}}})
    assert chain.next.value == 2
    with pytest.raises(ArgumentsError):
        received(taking(names["Chain"][int]), {"x": {"value": 1, "next": {"value": "a"}}})


def test_null_among_the_choices_is_said_once() -> None:
    def fn(x: Literal[1, 2, None] = None) -> Any:
        return x

    tool = make(fn)
    assert properties(tool)["x"] == {"enum": [1, 2, None], "default": None}
    assert received(tool, {"x": None}) is None
    with pytest.raises(ArgumentsError, match='"x" should be 1, 2 or null, got'):
        received(tool, {"x": 5})


def kind_of(value: Any) -> Any:
    return value.get("kind") if isinstance(value, dict) else type(value).__name__


class Sort(Enum):
    SHAPE = "shape"
    SQUARE = "square"


def test_a_discriminator_that_is_a_function_names_its_tags() -> None:
    first, second = Annotated[Shape, Tag("shape")], Annotated[Square, Tag("square")]
    tool = taking(Annotated[first | second, Discriminator(kind_of)])  # type: ignore[operator, valid-type]
    assert received(tool, {"x": {"kind": "square", "side": 2}}) == Square(side=2)
    with pytest.raises(ArgumentsError, match='the discriminator knows "shape", "square"'):
        received(tool, {"x": {"kind": "circle", "side": 2}})


@pytest.mark.parametrize("value", [{}, {"kind": None, "side": 2}], ids=["missing", "null"])
def test_a_discriminator_that_gives_no_tag_names_its_tags(value: Any) -> None:
    first, second = Annotated[Shape, Tag("shape")], Annotated[Square, Tag("square")]
    tool = taking(list[Annotated[first | second, Discriminator(kind_of)]])  # type: ignore[operator, valid-type]
    words = r'"x\[0\]" fits none of its alternatives \(the discriminator knows "shape", "square"\), got object'
    with pytest.raises(ArgumentsError, match=words):
        received(tool, {"x": [value]})


def test_a_discriminator_may_give_members_of_an_enum() -> None:
    first, second = Annotated[Shape, Tag(Sort.SHAPE)], Annotated[Square, Tag(Sort.SQUARE)]  # type: ignore[arg-type]
    tool = taking(Annotated[first | second, Discriminator(lambda value: Sort(value["kind"]))])  # type: ignore[operator, valid-type]
    assert received(tool, {"x": {"kind": "square", "side": 2}}) == Square(side=2)
