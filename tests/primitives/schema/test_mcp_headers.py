"""`mcp_headers.py`: `x-mcp-header` on the right properties, or no tool (R-250 to R-253)."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated, Any, ForwardRef

import pytest
from pydantic import BaseModel, Field, create_model

from enfilade.primitives.schema.mcp_headers import check_headers
from enfilade.wire.headers import mirrored_parameters
from support.servers.tools_in_process import make, received


def header(name: Any) -> Any:
    return Field(json_schema_extra={"x-mcp-header": name})


class Target(BaseModel):
    region: Annotated[str, header("Region")]


class Outer(BaseModel):
    target: Target
    other: list[int] = []


class Tree(BaseModel):
    region: Annotated[str, header("Region")]
    children: "list[Tree]" = []


def test_header_survives_on_a_plain_property_r250() -> None:
    def fn(
        a: Annotated[str, header("Region")], n: Annotated[int, header("Count")] = 1, x: list[int] = []
    ) -> None: ...

    schema = make(fn).definition.input_schema
    assert schema["properties"]["a"] == {"type": "string", "x-mcp-header": "Region"}
    assert [each.header for each in mirrored_parameters(schema)] == ["Region", "Count"]


def test_a_nested_model_with_a_header_is_written_out_r253() -> None:
    def fn(outer: Annotated[Outer, "where"], plain: list[Outer] | None = None) -> str:
        return outer.target.region

    with pytest.raises(ValueError, match="R-253"):
        make(fn)

    def good(outer: Annotated[Outer, "where"]) -> str:
        return outer.target.region

    tool = make(good)
    assert "$defs" not in tool.definition.input_schema
    assert tool.definition.input_schema["properties"]["outer"]["description"] == "where"
    assert [each.path for each in mirrored_parameters(tool.definition.input_schema)] == [
        ("outer", "target", "region")
    ]
    assert received(tool, {"outer": {"target": {"region": "eu"}}}) == "eu"


TYPES = {
    "number": (float, header("A"), "R-252"),
    "array": (list[int], header("A"), "R-252"),
    "object": (dict[str, int], header("A"), "R-252"),
    "union": (int | str, header("A"), "R-252"),
    "optional": (str | None, header("A"), "R-252"),
    "item": (list[Annotated[str, header("A")]], Field(), "R-253"),
    "member of a union": (Annotated[str, header("A")] | int, Field(), "R-253"),
    "value of a dict": (dict[str, Annotated[str, header("A")]], Field(), "R-253"),
    "recursive model": (Tree, Field(), "R-253"),
    "empty": (str, header(""), "R-251"),
    "blank": (str, header("A B"), "R-251"),
    "line end": (str, header("A\r\nB"), "R-251"),
    "colon": (str, header("A:"), "R-251"),
    "not ASCII": (str, header("Ä"), "R-251"),
    "no text": (str, header(5), "R-251"),
}


@pytest.mark.parametrize(("annotation", "field", "rule"), TYPES.values(), ids=TYPES)
def test_tools_that_clients_would_drop_are_refused(annotation: Any, field: Any, rule: str) -> None:
    def fn(x):
        return x

    fn.__annotations__["x"] = Annotated[annotation, field]
    with pytest.raises(ValueError, match=rule):
        make(fn)


def test_headers_are_unique_without_case_r251() -> None:
    def fn(a: Annotated[str, header("Region")], b: Annotated[str, header("region")]) -> None: ...

    with pytest.raises(ValueError, match=r'"region" is on "a" and on "b".*R-251'):
        make(fn)


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_headers_under_applicators_r253(keyword: str) -> None:
    part = {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}
    check_headers({"type": "object", **part})
    with pytest.raises(ValueError, match="R-253"):
        check_headers({"type": "object", keyword: [part]})
    for single in ("not", "if", "then", "else", "items", "additionalProperties"):
        with pytest.raises(ValueError, match="R-253"):
            check_headers({"type": "object", single: part})


def test_an_argument_called_like_the_keyword_is_none() -> None:
    check_headers(
        {"type": "object", "properties": {"x-mcp-header": {"type": "array"}}, "default": {"x-mcp-header": 1}}
    )


def steps_to_register(model: Any, refused: str = "") -> int:
    """Return how many functions are called while a tool that takes and returns a model is made."""

    def fn(x: Any) -> Any:
        return x

    fn.__annotations__.update({"x": model, "return": model})
    steps = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal steps
        steps += event == "call"

    before = sys.getprofile()
    with pytest.raises(ValueError, match=refused) if refused else nullcontext():
        sys.setprofile(count)
        try:
            make(fn)
        finally:
            sys.setprofile(before)
    return steps


def diamonds(depth: int, leaf: Any = int) -> Any:
    """Return a model that holds another one twice, which holds another one twice, and so on."""
    model: Any = create_model("Diamond", a=(leaf, ...))
    for number in range(1, depth):
        model = create_model(f"D{number}", left=(model, ...), right=(model, ...))
    return model


def mesh(size: int) -> Any:
    """Return one of several models, each of which may hold any of them."""
    names = [f"N{number}" for number in range(size)]
    fields: Any = {name.lower(): (ForwardRef(f"{name} | None"), None) for name in names}
    models: dict[str, Any] = {name: create_model(name, **fields) for name in names}
    for model in models.values():
        model.model_rebuild(_types_namespace=models)
    return models["N0"]


@pytest.mark.parametrize(
    ("small", "large", "growth"),
    [
        pytest.param(lambda: diamonds(8), lambda: diamonds(16), 2, id="models that double"),
        pytest.param(lambda: mesh(4), lambda: mesh(8), 4, id="models that refer to each other"),
    ],
)
def test_registration_takes_steps_in_proportion_to_the_fields(
    small: Callable[[], Any], large: Callable[[], Any], growth: int
) -> None:
    steps_to_register(small())  # what is made once is made
    assert steps_to_register(large()) < 1.5 * growth * steps_to_register(small())


def test_a_header_in_models_that_double_is_refused_in_few_steps_r251() -> None:
    leaf = Annotated[str, header("Region")]
    few, many = (steps_to_register(diamonds(depth, leaf), "R-251") for depth in (8, 16))
    assert many < 3 * few
