"""`Context[T]`: what type checkers know of the lifespan's value costs nothing when the server runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from enfilade import Context, Depends, MCPApp, connect

if TYPE_CHECKING:
    import shelves
    from shelves import Shelf

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def lifespan(app: MCPApp) -> AsyncIterator[dict[str, int]]:
    yield {"tea": 3}


def known(item: str, ctx: Context[dict[str, int]]) -> int:
    return ctx.lifespan[item]


def for_type_checkers(item: str, ctx: Context[Shelf]) -> int:
    return int(ctx.lifespan[item])


def in_a_module_for_type_checkers(item: str, ctx: Context[shelves.Shelf]) -> int:
    return int(ctx.lifespan[item])


def optional(item: str, ctx: Context[shelves.Shelf] | None = None) -> int:
    return int(ctx.lifespan[item]) if ctx else 0


def quoted(item: str, ctx: "Context[Shelf]") -> int:  # noqa: UP037
    return int(ctx.lifespan[item])


def shelf(ctx: Context[Shelf]) -> Any:
    return ctx.lifespan


def depending(item: str, found: Annotated[Any, Depends(shelf)]) -> int:
    return int(found[item])


@pytest.mark.parametrize(
    "fn", [known, for_type_checkers, in_a_module_for_type_checkers, optional, quoted, depending]
)
async def test_a_parameter_with_it_takes_the_context(fn: Callable[..., Any]) -> None:
    app = MCPApp(lifespan=lifespan)
    app.add_tool(fn)
    assert list(app.tools[fn.__name__].definition.input_schema["properties"]) == ["item"]
    async with connect(app) as client:
        assert (await client.call_tool(fn.__name__, {"item": "tea"})).structured_content == {"result": 3}
