"""`registration_checks.py`: types of which no JSON is a value are refused when a tool is registered."""

import functools
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, InstanceOf, JsonValue
from typing_extensions import TypedDict

from enfilade.primitives.errors import ArgumentsError
from support.servers.tools_in_process import answered, data_of, make, received


class Empty(Enum):
    pass


class Kind(Enum):
    CAT = "cat"
    ONE = 1


class Model(BaseModel):
    a: int


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    a: int


@dataclass
class Data:
    a: int


@dataclass(frozen=True)
class FrozenData:
    a: int


class Holder(BaseModel):
    things: dict[tuple[int, int], int] = {}


class PathOnly(BaseModel):
    b: int = Field(validation_alias=AliasPath("p", "q"))


class OptionalPath(BaseModel):
    b: int = Field(5, validation_alias=AliasChoices(AliasPath("p", 0), AliasPath("q", "r")))


class PathOrName(BaseModel):
    b: int = Field(validation_alias=AliasChoices(AliasPath("p", 0), "c"))
    d: int = Field(1, validation_alias=AliasPath("d"))


class SameAlias(BaseModel):
    a: int = Field(alias="x")
    b: int = Field(1, alias="x")


class SameAliasTyped(TypedDict):
    a: Annotated[int, Field(alias="b")]
    b: int


def taking(annotation: Any) -> Any:
    def fn(x: Any) -> Any:
        return x

    fn.__annotations__["x"] = annotation
    return make(fn)


IMPOSSIBLE = [
    *((dict[key, int], "keys of an object are text") for key in (tuple[int, int], frozenset[int], Frozen, None)),
    (dict[list[int] | None, int], "keys of an object are text"),  # type: ignore[misc]
    (list[dict[FrozenData, int]] | None, "keys of an object are text"),
    (Holder, "keys of an object are text"),
    (set[list[int]], "a list has no hash"),
    (set[Model], "a Model has no hash"),
    (frozenset[Data], "a Data has no hash"),
    (set[list[int] | dict[str, int]], "a list has no hash"),
    (Empty, "Empty, which has no members"),
    (Empty | None, "Empty, which has no members"),
    (list[Empty], "Empty, which has no members"),
    (dict[str, Empty], "Empty, which has no members"),
    (PathOnly, r'the field "b" is read from a path alone'),
    (OptionalPath | None, r'the field "b" is read from a path alone'),
    (SameAlias, r'2 of its fields are called "x"'),
    (list[SameAliasTyped], r'2 of its fields are called "b"'),
]


@pytest.mark.parametrize(("annotation", "reason"), IMPOSSIBLE, ids=str)
def test_what_no_json_can_be_is_refused_by_name(annotation: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=rf'fn\(\), parameter "x": .*{reason}.*; '):
        taking(annotation)


POSSIBLE = [
    (dict[int, int], {"1": 2}, {1: 2}),
    (dict[Kind, int], {"1": 2, "cat": 3}, {Kind.ONE: 2, Kind.CAT: 3}),
    (dict[str | None, int], {"a": 1}, {"a": 1}),
    (set[tuple[int, int]], [[1, 2]], {(1, 2)}),
    (set[Frozen], [{"a": 1}], {Frozen(a=1)}),
    (set[FrozenData], [{"a": 1}], {FrozenData(1)}),
    (set[Any], [1], {1}),
    (set[Kind], ["cat"], {Kind.CAT}),
    (set[str | list[str]], ["a"], {"a"}),
    (frozenset[JsonValue], ["a"], frozenset({"a"})),
    (InstanceOf[Kind], "cat", Kind.CAT),
    (PathOrName, {"c": 2, "d": 3}, PathOrName(c=2, d=3)),
]


@pytest.mark.parametrize(("annotation", "sent", "value"), POSSIBLE, ids=str)
def test_what_json_can_be_is_taken(annotation: Any, sent: Any, value: Any) -> None:
    assert received(taking(annotation), {"x": sent}) == value


@pytest.mark.parametrize("sent", [{}, {"p": []}, {"p": {}}], ids=["nothing", "an empty array", "an object"])
def test_what_is_also_read_from_a_path_is_missing_under_its_published_name(sent: Any) -> None:
    for annotation, value, place in ((PathOrName, sent, "x.c"), (list[PathOrName], [sent], "x[0].c")):
        with pytest.raises(ArgumentsError, match=re.escape(f'"{place}" is missing (expected integer)')):
            received(taking(annotation), {"x": value})


def test_a_parameter_that_is_also_read_from_a_path_is_missing_under_its_published_name() -> None:
    def fn(a: Annotated[int, Field(validation_alias=AliasChoices(AliasPath("p", 0), "z"))]) -> None: ...

    with pytest.raises(ArgumentsError, match=r'"z" is missing \(expected integer\)$'):
        received(make(fn), {})


def test_two_parameters_with_one_alias_are_refused() -> None:
    def fn(a: Annotated[int, Field(alias="x")], b: int = Field(1, alias="x")) -> None: ...

    with pytest.raises(TypeError, match=r'fn\(\): 2 of its fields are called "x" in JSON; give each an alias'):
        make(fn)


def test_a_parameter_with_nothing_but_a_path_is_refused() -> None:
    def fn(a: Annotated[int, Field(validation_alias=AliasPath("x", "y"))]) -> None: ...

    with pytest.raises(TypeError, match=r'fn\(\): the field "a" is read from a path alone'):
        make(fn)


class Speaker:
    @functools.singledispatchmethod
    def say(self, value: int) -> str:
        return "a number"


@functools.singledispatch
def said(value: int) -> str:
    return "a number"


@functools.wraps(said)
def passing_all(*args: Any, **kwargs: Any) -> str:
    return said(*args, **kwargs)


@functools.wraps(said)
def passing_by_position(value: int) -> str:
    return said(value)


@pytest.mark.parametrize(
    "fn",
    [said, Speaker().say, functools.partial(said), functools.partial(passing_all), passing_all],
    ids=["function", "method", "partial", "partial of a wrapper", "wrapper"],
)
def test_a_function_that_is_chosen_by_position_is_refused(fn: Any) -> None:
    with pytest.raises(TypeError, match="is chosen by the type of its first argument"):
        make(fn)


def test_a_wrapper_that_passes_the_first_argument_by_position_is_taken() -> None:
    assert received(make(passing_by_position), {"value": 5}) == "a number"


def test_an_instance_of_an_enum_with_members_is_returned() -> None:
    def fn() -> InstanceOf[Kind]:
        return Kind.CAT

    assert data_of(answered(make(fn))) == {"result": "cat"}


class Memberless(Enum):
    """An Enum without members."""


@pytest.mark.parametrize("annotation", [Memberless, list[Memberless], dict[str, Memberless | None]], ids=str)
def test_a_result_that_no_value_can_be_is_refused(annotation: Any) -> None:
    def fn() -> Any: ...

    fn.__annotations__["return"] = annotation
    with pytest.raises(
        TypeError, match=r"fn\(\), the result: no value can be a Memberless, which has no members"
    ):
        make(fn)


class AbstractShape(BaseModel, ABC):
    """A model that cannot be made."""

    @abstractmethod
    def area(self) -> float: ...


@dataclass
class AbstractRecord(ABC):
    """A dataclass that cannot be made."""

    number: int

    @abstractmethod
    def area(self) -> float: ...


@pytest.mark.parametrize("kind", [AbstractShape, AbstractRecord], ids=["model", "dataclass"])
def test_an_abstract_class_is_no_parameter(kind: Any) -> None:
    def fn(value: Any) -> None: ...

    fn.__annotations__["value"] = list[kind]
    with pytest.raises(TypeError, match="is abstract, so no value of it can be made; take its subclasses"):
        make(fn)


def test_an_async_function_with_a_cache_is_refused() -> None:
    @functools.lru_cache
    async def fn(value: int) -> int:
        return value

    with pytest.raises(TypeError, match="keeps a coroutine that can be awaited only once"):
        make(fn)


class Changeable(BaseModel):
    """A model that has no hash."""


@pytest.mark.parametrize("annotation", [list[int], dict[str, int], Changeable], ids=["list", "dict", "model"])
def test_a_cache_of_arguments_without_a_hash_is_refused(annotation: Any) -> None:
    def fn(value: Any) -> int:
        return 1

    fn.__annotations__["value"] = annotation
    with pytest.raises(TypeError, match=r'parameter "value": a .* has no hash, and functools.cache needs one'):
        make(functools.cache(fn))


def test_a_cache_of_arguments_with_a_hash_is_taken() -> None:
    @functools.lru_cache
    def fn(value: tuple[int, ...]) -> int:
        return sum(value)

    assert data_of(answered(make(fn), {"value": [1, 2]})) == {"result": 3}
