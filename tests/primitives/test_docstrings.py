"""`docstrings.py`: descriptions in each of the usual styles."""

import functools
from typing import Annotated, Any

import pytest
from pydantic import Field

from enfilade.primitives.docstrings import read_docstring

from .making import make

GOOGLE = """Add numbers.

Slowly, and:

- with care

Args:
    a: the first
        of two
    b (int): the second

Returns:
    The sum.
"""
NUMPY = """Add numbers.

Slowly, and:

- with care

Parameters
----------
a : int
    the first
    of two
b
    the second

Returns
-------
int
    The sum.
"""
SPHINX = """Add numbers.

Slowly, and:

- with care

:param a: the first of two
:param int b: the second
:returns: The sum.
"""


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_styles(text: str) -> None:
    found = read_docstring(text)
    assert found.description == "Add numbers.\n\nSlowly, and:\n\n- with care"
    assert found.parameters == {"a": "the first of two", "b": "the second"}


@pytest.mark.parametrize(
    "text",
    [
        "One line.",
        "Look.\n\nNote: this stays.\n\nExamples:\n    >>> add(1, 2)\n    3",
        "See https://example.org/a:b\n\nnot indented: text",
        "Args are many:\n\nArgs:\nnothing here",
        ":param",
    ],
)
def test_text_that_is_no_style_stays_as_it_is(text: str) -> None:
    assert read_docstring(text) == (text, {})


def test_no_docstring() -> None:
    assert read_docstring(None) == ("", {})
    assert "description" not in str(make(lambda: 1, name="x").definition.input_schema)


def test_precedence_annotated_then_field_then_docstring() -> None:
    def fn(
        a: Annotated[int, Field(description="field"), "annotated"],
        b: Annotated[int, Field(description="field")],
        c: int,
        d: int = Field(1, description="default"),
        e: Annotated[int | None, "annotated"] = None,
    ) -> None:
        """Do it.

        Args:
            a: docstring
            b: docstring
            c: docstring
            d: docstring
            e: docstring
        """

    properties = make(fn).definition.input_schema["properties"]
    found = {name: each["description"] for name, each in properties.items()}
    assert found == {"a": "annotated", "b": "field", "c": "docstring", "d": "default", "e": "annotated"}


def test_description_given_wins_and_partial_has_its_functions() -> None:
    def fn(a: int) -> None:
        """Do it."""

    assert make(fn, description="Other.").definition.description == "Other."
    assert make(functools.partial(fn, 1)).definition.description == "Do it."


def test_an_object_without_docstring_has_none(recwarn: Any) -> None:
    class Thing:
        def __call__(self) -> None: ...

    import msgspec

    assert make(Thing()).definition.description is msgspec.UNSET
