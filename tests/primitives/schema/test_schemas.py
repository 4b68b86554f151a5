"""`schemas.py`: `x-mcp-header` on the right properties, or no tool (R-250 to R-253)."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from enfilade.primitives.schema.schemas import check_headers
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
