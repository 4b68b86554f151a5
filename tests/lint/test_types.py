"""Schemas that are made from types: no rule about schemas has more to say than what the type itself brings."""

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from enfilade import MCPApp
from enfilade.client.surface import read_surface
from enfilade.lint.run import apply_rules
from enfilade.testing import connect


class Colour(Enum):
    RED = "red"
    ONE = 1


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]


class Strict(BaseModel, extra="forbid"):
    a: int
    b: Annotated[int, Ge(1), Le(1)] = 1


class Loose(BaseModel, extra="allow"):
    a: dict[str, int]


class Partial(TypedDict, total=False):
    a: int


@dataclass
class Point:
    x: float
    y: float = 0.0


TYPES: list[Any] = [
    *(int, str, bool, float, list[int], dict[str, int], tuple[int, str], set[str], bytes, Any, Colour),
    *(Annotated[Cat | Dog, Field(discriminator="kind")], Cat | Dog, Strict, Loose, Partial, Point, Point | None),
    *(Literal["a", 1, None], Annotated[str, MinLen(1)], Annotated[int, Field(ge=1, le=1)], dict[str, Point]),
    *(list[tuple[Point, Colour]], dict[Literal["a", "b"], int], frozenset[Colour]),
]


async def _findings(annotation: Any) -> set[str]:
    app = MCPApp("types")

    def take(value: Any) -> Any:
        """Take a value."""
        return value

    take.__annotations__ = {"value": annotation, "return": annotation}
    app.add_tool(take)
    async with connect(app) as client:
        return {finding.rule for finding in apply_rules(await read_surface(client))}


@pytest.mark.parametrize("annotation", TYPES, ids=str)
def test_a_schema_made_from_a_type_is_one_that_clients_take(annotation: Any) -> None:
    found = asyncio.run(_findings(annotation))
    assert not found & {"schema-never", "schema-enum", "schema-required", "schema-keyword", "schema-valid"}
