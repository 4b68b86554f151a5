"""`metadata.py`: every option of a registration has its type, or is refused when it is given."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.primitives.prompt import prompt_from_function
from enfilade.primitives.resource import resource_from_function, template_from_function
from support.servers.tools_in_process import Context, make

TEXTS = [(name, value) for name in ("name", "title", "description") for value in (5, b"a", ["a"], True)]
COMMON: list[tuple[str, Any]] = [*TEXTS, ("icons", 5), ("meta", 5), ("meta", [1])]


def give() -> str:
    return ""


def take(x: str) -> str:
    return x


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *COMMON,
        *(("input_schema", True), ("input_schema", "{}"), ("output_schema", []), ("structured_output", "yes")),
        *(("additional_properties", "no"), ("schema_refs", 1), ("requires_secrets", 5), ("timeout", "5")),
        ("timeout", True),
    ],
)
def test_an_option_of_a_tool_with_another_type(option: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^give\(\): {option} is .*, not "):
        make(give, **{option: value})


@pytest.mark.parametrize(("option", "value"), [*COMMON, ("complete", 5), ("complete", ["x"])])
def test_an_option_of_a_prompt_with_another_type(option: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^take\(\): {option} is .*, not "):
        prompt_from_function(take, context_type=Context, **{option: value})


@pytest.mark.parametrize(
    ("option", "value"), [*COMMON, ("mime_type", 5), ("size", "5"), ("size", True), ("size", 1.5)]
)
def test_an_option_of_a_resource_with_another_type(option: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf'^resource "a://b": {option} is .*, not '):
        resource_from_function(give, "a://b", context_type=Context, **{option: value})


@pytest.mark.parametrize(
    ("option", "value"), [*COMMON, ("mime_type", 5), ("complete", 5), ("verbatim", 5), ("members", 5)]
)
def test_an_option_of_a_template_with_another_type(option: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^take\(\): {option} is .*, not "):
        template_from_function(take, "a://{x}", context_type=Context, **{option: value})


def test_values_that_no_option_can_have() -> None:
    with pytest.raises(ValueError, match="size is a number of bytes, not -1"):
        resource_from_function(give, "a://b", context_type=Context, size=-1)
    with pytest.raises(ValueError, match="verbatim names 'y', which is no variable"):
        template_from_function(take, "a://{x}", context_type=Context, verbatim=["y"])
    with pytest.raises(TypeError, match='what suggests "x" is a function, a list or an Enum, not 5'):
        prompt_from_function(take, context_type=Context, complete={"x": 5})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="5 cannot be the name of a secret"):
        make(give, requires_secrets=[5])


def test_an_object_in_place_of_an_option_is_named_by_its_type() -> None:
    with pytest.raises(TypeError, match=r"^give\(\): title is a string, not an object$"):
        make(give, title=object())
    with pytest.raises(TypeError, match=r"^MCPApp\(\): name is a string, not a function$"):
        MCPApp(name=give)  # type: ignore[arg-type]


def test_one_icon_is_no_list_of_them() -> None:
    with pytest.raises(ValueError, match="icons is a list; put the icon into one"):
        make(give, icons={"src": "https://a.example/i"})


def test_numbers_and_icons_may_be_of_any_kind() -> None:
    for limit in (Decimal(3), Fraction(3)):
        timeout = make(give, timeout=limit).timeout
        assert type(timeout) is float
        assert timeout == 3
    for icons in ({"https://a.example/i"}, (src for src in ["https://a.example/i"])):
        (icon,) = make(give, icons=icons).definition.icons
        assert icon.src == "https://a.example/i"
