"""`annotations.py`, where every annotation is a string: as in most modules that people write (D38)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest
from pydantic import BaseModel, Field

from support.servers.tools_in_process import CONTEXT, make, received

if TYPE_CHECKING:
    from fractions import Fraction

    from support.servers import tools_in_process as making
    from support.servers.tools_in_process import Context


def by_name(ctx: Context, a: int) -> Any:
    return ctx, a


def optional(a: int, ctx: Context | None = None) -> Any:
    return ctx, a


def typing_optional(a: int, ctx: Optional[Context] = None) -> Any:  # noqa: UP045
    return ctx, a


def annotated(a: int, *, ctx: Annotated[Context, "the context"]) -> Any:
    return ctx, a


def through_module(a: int, ctx: making.Context) -> Any:
    return ctx, a


def quoted(a: int, ctx: "Context") -> Any:  # noqa: UP037
    return ctx, a


@pytest.mark.parametrize("fn", [by_name, optional, typing_optional, annotated, through_module, quoted])
def test_context_that_exists_for_type_checkers_only(fn: Callable[..., Any]) -> None:
    tool = make(fn)
    assert list(tool.definition.input_schema["properties"]) == ["a"]
    assert received(tool, {"a": 1}) == (CONTEXT, 1)


def unresolvable(x: Fraction) -> None: ...


def similar(x: Contextual) -> None: ...  # noqa: F821


def unresolvable_result(x: int) -> Fraction:
    return x  # type: ignore[return-value]


def test_another_type_for_type_checkers_only_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r'parameter "x".*"Fraction" is not known.*TYPE_CHECKING'):
        make(unresolvable)
    with pytest.raises(TypeError, match=r'parameter "x".*"Contextual" is not known'):
        make(similar)


def test_a_result_for_type_checkers_only_is_not_declared() -> None:
    assert received(make(unresolvable_result), {"x": 1}) == 1


def test_types_of_the_function_around_are_found_while_it_runs() -> None:
    class Point(BaseModel):
        x: int = Field(ge=0)

    @dataclasses.dataclass
    class Box:
        points: list[int]

    def measure(point: Point, box: Box | None = None) -> Point:
        return point

    class Inner:
        def method(self, point: Point) -> Point:
            return point

    assert received(make(measure), {"point": {"x": 1}, "box": {"points": [1]}}) == Point(x=1)
    assert received(make(Inner().method), {"point": {"x": 1}}) == Point(x=1)


def test_types_in_the_closure_are_found_when_nothing_runs_any_more() -> None:
    def outer() -> Callable[..., Any]:
        class Point(BaseModel):
            x: int

        def measure(point: Point) -> Any:
            return isinstance(point, Point)

        return measure

    assert received(make(outer()), {"point": {"x": 1}}) is True


def test_types_that_are_gone_are_named() -> None:
    def outer() -> Callable[..., Any]:
        class Gone(BaseModel):
            x: int

        def measure(point: Gone) -> Any:
            return point

        return measure

    with pytest.raises(TypeError, match=r'measure\(\), parameter "point".*"Gone" is not known'):
        make(outer())


def test_the_namesake_of_another_function_is_not_taken() -> None:
    Point = int

    def outer() -> Callable[..., Any]:
        def measure(point: Point) -> Any:
            return point

        return measure

    assert make(outer()).definition.input_schema["properties"]["point"] == {"type": "integer"}
