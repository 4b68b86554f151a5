"""Types that cannot be parameters: the text is about what the author wrote."""

import warnings
from typing import Annotated, Any, Generic, TypeVar

import attrs
import pytest
from pydantic import BaseModel, Field

from enfilade import Image, MCPApp
from enfilade.primitives.tool import tool_from_function
from enfilade.serving.context import Context
from enfilade.serving.request import Request

with warnings.catch_warnings():  # of Python releases that it does not support
    warnings.simplefilter("ignore")
    from pydantic import v1

T = TypeVar("T")


class Unfinished(BaseModel):
    a: "Undefined"  # type: ignore[name-defined]  # noqa: F821


class Old(v1.BaseModel):
    a: int = 1


@attrs.define
class Page(Generic[T]):
    items: list[T]


def refusal(annotation: Any) -> str:
    def function(value: Any) -> None: ...

    function.__annotations__ = {"value": annotation, "return": None}
    with warnings.catch_warnings(), pytest.raises(TypeError) as caught:
        warnings.simplefilter("ignore")  # pydantic's, of a model of its first major version
        tool_from_function(function, context_type=Context)
    return str(caught.value).partition('parameter "value": ')[2]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[str, Field(pattern=r"^a\Z")], "its pattern is not one of pydantic's regular expressions"),
        (Annotated[int, Field(gt=1.5)], "its limit gt is no integer, as the values of its type are"),
        (list[Unfinished], 'the name "Undefined" is not known; define or import it in the module of the class'),
        (Request, "no caller can send Request, a class of Enfilade; take the Context"),
        (MCPApp, "no caller can send MCPApp, a class of Enfilade; take the Context"),
        (Image, "no caller can send Image, a class of Enfilade; take the Context"),
        (Old, "Old is a model of pydantic.v1, which is not supported; use pydantic.BaseModel"),
    ],
    ids=["pattern", "limit", "name", "request", "app", "image", "v1"],
)
def test_the_text_names_what_the_author_wrote(annotation: Any, words: str) -> None:
    text = refusal(annotation)
    assert words in text
    assert "TypeAdapter" not in text
    assert "no JSON" not in text


def test_a_generic_class_of_a_generic_class_is_named_by_its_arguments() -> None:
    def function(value: Page[Page[int]]) -> None: ...

    schema = tool_from_function(function, context_type=Context).definition.input_schema
    assert schema["properties"]["value"]["title"] == "Page[Page[int]]"
