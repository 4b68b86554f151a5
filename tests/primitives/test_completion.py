"""`completion.py`: choices that complete by themselves, functions that suggest, and what is sent (R-531)."""

import itertools
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, Optional

import msgspec
import pytest

from enfilade.primitives.completion import (
    FixedValues,
    Suggester,
    choices_of,
    completer_of,
    completion_of,
)
from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.prompt import prompt_from_function
from enfilade.wire.prompts import Completion
from support.servers.tools_in_process import CONTEXT, Context


class Color(Enum):
    RED = "red"
    DEEP_BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (Color, ("red", "blue")),
        (Level, ("1", "2")),
        (Literal["a", 1, True, None], ("a", "1", "true")),
        (bool, ("true", "false")),
        (Annotated[bool, "on or off"], ("true", "false")),
        (Optional[Color], ("red", "blue")),  # noqa: UP045 - that spelling, too
        (Color | None, ("red", "blue")),
        (Color | Literal["red", "any"], ("red", "blue", "any")),
        (Color | str, None),
        (str, None),
        (list[Color], None),
        (Any, None),
    ],
)
def test_types_with_few_values(annotation: Any, values: tuple[str, ...] | None) -> None:
    assert choices_of(annotation) == values


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("", ["Paris", "Parma", "Berlin", "New Paris", "ÅRHUS"]),
        ("par", ["Paris", "Parma", "New Paris"]),
        ("PARI", ["Paris", "New Paris"]),
        ("in", ["Berlin"]),
        ("år", ["ÅRHUS"]),
        ("x", []),
    ],
)
def test_choices_are_ranked(typed: str, values: list[str]) -> None:
    """What begins so comes first, then what contains it; in the order given, whatever the case."""
    found = FixedValues(("Paris", "Parma", "Berlin", "New Paris", "ÅRHUS")).suggest(typed)
    assert found.values == values
    assert (found.total, found.has_more) == (len(values), False)


def suggest(fn: Callable[..., Any], typed: str = "x", **settled: str) -> Any:
    """Return what a function suggests."""
    made = completer_of(fn, Context)
    assert isinstance(made, Suggester)
    return made.handler.call(made.bind(typed, settled, CONTEXT))


def test_functions_take_what_they_like() -> None:
    def nothing() -> Any:
        return ()

    def typed(anything: str) -> Any:
        return anything

    def both(arguments: dict[str, str], value: str) -> Any:
        return value, arguments

    def all_of_it(value: str, arguments: dict[str, str], ctx: Context, limit: int = 5) -> Any:
        return value, arguments, ctx, limit

    def only_arguments(arguments: dict[str, str]) -> Any:
        return arguments

    assert suggest(nothing) == ()
    assert suggest(typed) == "x"
    assert suggest(both, "x", a="1") == ("x", {"a": "1"})
    assert suggest(all_of_it, "x", a="1") == ("x", {"a": "1"}, CONTEXT, 5)
    assert suggest(only_arguments, a="1") == {"a": "1"}


def test_a_function_that_wants_more_is_refused() -> None:
    def wants(value: str, country: str) -> list[str]:
        return []

    with pytest.raises(TypeError, match='nothing is known for "country"'):
        completer_of(wants, Context)


@pytest.mark.parametrize("source", [["a", "b"], ("a", "b"), {"a": 1, "b": 2}, Enum("E", {"A": "a", "B": "b"})])
def test_lists_and_enums_are_choices(source: Any) -> None:
    made = completer_of(source, Context)
    assert isinstance(made, FixedValues)
    assert made.values == ("a", "b")


MANY = [str(number) for number in range(250)]
SENT: dict[str, tuple[Any, dict[str, Any]]] = {
    "none": (None, {"values": [], "total": 0, "hasMore": False}),
    "list": (["a", "b"], {"values": ["a", "b"], "total": 2, "hasMore": False}),
    "members": ([Color.RED, 1, True], {"values": ["red", "1", "true"], "total": 3, "hasMore": False}),
    "dict": ({"a": 1}, {"values": ["a"], "total": 1, "hasMore": False}),
    "more than may go": (MANY, {"values": MANY[:100], "total": 250, "hasMore": True}),
    "short iterator": (iter("ab"), {"values": ["a", "b"], "total": 2, "hasMore": False}),
    "endless iterator": (itertools.repeat("a"), {"values": ["a"] * 100, "hasMore": True}),
    "whole": (Completion(values=["a"], total=7, has_more=True), {"values": ["a"], "total": 7, "hasMore": True}),
    "whole, too long": (
        Completion(values=MANY, total=9000),
        {"values": MANY[:100], "total": 9000, "hasMore": True},
    ),
}


@pytest.mark.parametrize(("found", "sent"), SENT.values(), ids=SENT)
def test_what_is_sent(found: Any, sent: dict[str, Any]) -> None:
    """R-531: at most 100 values."""
    assert msgspec.to_builtins(completion_of(found)) == sent


@pytest.mark.parametrize("found", ["text", b"bytes", 5, object()])
def test_what_is_no_list_of_suggestions(found: Any) -> None:
    with pytest.raises(ReturnedValueError, match="list of strings"):
        completion_of(found)


def test_what_is_given_outranks_the_type() -> None:
    def paint(color: Color, name: str, size: Level = Level.LOW) -> str:
        return ""

    made = prompt_from_function(paint, context_type=Context, complete={"color": ["red"], "name": ["Ada"]})
    values = {"color": ("red",), "name": ("Ada",), "size": ("1", "2")}
    assert made.completers == {name: FixedValues(texts) for name, texts in values.items()}
