"""Dependencies in signatures: what a provider is, what is never published, what registration refuses."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from enfilade.primitives.depends import Depends, Provider, depends_of, key_of
from enfilade.primitives.schema.signature import read_provider
from support.servers.tools_in_process import Context, make


def plain() -> int:
    return 1


async def awaited() -> int:
    return 2


def generator() -> Iterator[int]:
    yield 3


async def async_generator() -> AsyncIterator[int]:
    yield 4


class Counter:
    def __call__(self) -> int:
        return 5

    def method(self) -> int:
        return 6

    async def async_method(self) -> int:
        return 7


def of(fn: Callable[..., Any]) -> Provider:
    return read_provider(fn, Context)


@pytest.mark.parametrize(
    ("fn", "kind"),
    [
        pytest.param(plain, "plain", id="def"),
        pytest.param(awaited, "async", id="async def"),
        pytest.param(generator, "generator", id="generator"),
        pytest.param(async_generator, "async generator", id="async generator"),
        pytest.param(Counter(), "plain", id="object"),
        pytest.param(Counter().method, "plain", id="method"),
        pytest.param(Counter().async_method, "async", id="async method"),
        pytest.param(lambda: 8, "plain", id="lambda"),
        pytest.param(functools.partial(lambda x: x, x=9), "plain", id="partial"),
        pytest.param(functools.partial(async_generator), "async generator", id="partial of a generator"),
        pytest.param(contextmanager(generator), "generator", id="context manager"),
        pytest.param(asynccontextmanager(async_generator), "async generator", id="async context manager"),
        pytest.param(Counter, "plain", id="class"),
    ],
)
def test_how_a_provider_is_run(fn: Callable[..., Any], kind: str) -> None:
    assert of(fn).kind == kind


def query(
    ctx: Context,
    base: Annotated[int, Depends(plain)],
    limit: int = 10,
    more: Annotated[int, Depends(awaited)] = 0,
) -> int:
    return base + limit + more


def test_a_provider_takes_the_context_and_other_providers() -> None:
    """A parameter with a default that nobody fills keeps it."""
    provider = of(query)
    assert provider.contexts == ("ctx",)
    assert [(name, each.fn) for name, each in provider.dependencies] == [("base", plain), ("more", awaited)]


def search(
    text: str, db: Annotated[int, Depends(plain)], ctx: Context, deep: Annotated[int, Depends(query)]
) -> int:
    """Search."""
    return db + deep


def test_a_dependency_is_never_published() -> None:
    """P16: a client neither sees it nor can fill it."""
    tool = make(search)
    assert list(tool.definition.input_schema["properties"]) == ["text"]
    assert tool.definition.input_schema["additionalProperties"] is False
    assert [name for name, _ in tool.dependencies] == ["db", "deep"]
    assert tool.needs_context


def test_a_hand_made_schema_does_not_open_it() -> None:
    def lookup(db: Annotated[int, Depends(plain)], **rest: Any) -> int:
        return db

    tool = make(lookup, input_schema={"type": "object", "properties": {"x": {"type": "integer"}}})
    assert [name for name, _ in tool.dependencies] == ["db"]


class Repository:
    def __init__(self, ctx: Context, base: Annotated[int, Depends(plain)], limit: int = 3) -> None:
        self.total = base + limit


class Inherited(Repository):
    pass


@dataclass
class Page:
    base: Annotated[int, Depends(plain)]
    size: int = 20


@pytest.mark.parametrize("kind", [Repository, Inherited, Page])
def test_a_class_is_made_of_what_its_constructor_takes(kind: type) -> None:
    provider = of(kind)
    assert [(name, each.fn) for name, each in provider.dependencies] == [("base", plain)]
    assert provider.contexts == (("ctx",) if kind is not Page else ())


def test_a_class_that_needs_more_is_refused() -> None:
    class Needy:
        def __init__(self, url: str) -> None:
            self.url = url

    with pytest.raises(TypeError, match='parameter "url": nobody fills it'):
        of(Needy)


def test_a_tool_without_dependencies_has_none() -> None:
    def bare(text: str) -> str:
        return text

    assert make(bare).dependencies == ()
    assert not make(bare).needs_context


def needs_caller(name: str) -> str:
    return name


def asks_itself(again: Annotated[int, Depends(lambda: 0)]) -> int:
    return again


def round_and_round(x: Annotated[int, Depends(on_and_on)]) -> int:
    return x


def on_and_on(x: Annotated[int, Depends(round_and_round)]) -> int:
    return x


def not_a_mark(db: Annotated[int, Depends]) -> int:
    return db


def by_default(db: int = Depends(plain)) -> int:  # type: ignore[assignment]
    return db


def in_a_union(db: Annotated[int, Depends(plain)] | None) -> int:
    return db or 0


def in_a_list(db: list[Annotated[int, Depends(plain)]]) -> int:
    return len(db)


def wants_needy(name: Annotated[str, Depends(needs_caller)]) -> str:
    return name


def wants_union(made: Annotated[int | str, Depends()]) -> int:
    return int(made)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (wants_needy, 'needs_caller(), parameter "name": nobody fills it where the function is a dependency'),
        (round_and_round, "in a circle: round_and_round() → on_and_on() → round_and_round()"),
        (not_a_mark, 'not_a_mark(), parameter "db": Depends needs a function'),
        (by_default, "a dependency stands in the annotation"),
        (in_a_union, "Depends stands inside of its type"),
        (in_a_list, "Depends stands inside of its type"),
        (wants_union, "Depends() without a function needs a class to make"),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_what_cannot_be_is_refused_at_registration(fn: Callable[..., Any], words: str) -> None:
    with pytest.raises(TypeError) as caught:
        make(fn)
    assert words in str(caught.value)


def test_the_mark_is_found_under_other_annotations() -> None:
    mark = Depends(plain)
    assert depends_of(Annotated[Annotated[int, mark], "described"]) is plain
    assert depends_of(Annotated[Counter, "described", Depends()]) is Counter
    assert depends_of(Annotated[int, "described"]) is None


def test_functions_are_told_apart_by_what_they_are() -> None:
    """A bound method is made anew each time it is looked up, and stays the same dependency."""
    counter = Counter()
    assert key_of(counter.method) == key_of(counter.method)
    assert key_of(Counter().method) != key_of(counter.method)

    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> int:
            return 1

    one, other = Unhashable(), Unhashable()
    assert key_of(one) != key_of(other)
    assert key_of(one) == key_of(one)
