"""`docstrings.py`: descriptions in each of the usual styles."""

import functools
from typing import Annotated, Any

import pytest
from pydantic import Field

from enfilade.primitives.prompt import prompt_from_function
from enfilade.primitives.resource import template_from_function
from enfilade.primitives.schema.docstrings import read_docstring
from support.servers.tools_in_process import Context, make

#: The parameters of the functions that these docstrings describe.
NAMES = ("a", "b")

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


EPYDOC = """Add numbers.

Slowly, and:

- with care

@param a: the first of two
@type a: int
@param b: the second
@return: The sum.
"""
REST = """

Valid categories:
    - genetic-associations
    - variant-annotation

Examples:
    add(a=1, b=2)

Note:
    Call this before anything else.

Never call it twice."""
RETURNS = {
    "google": (GOOGLE, "Returns:\n    The sum."),
    "numpy": (NUMPY, "Returns\n-------\nint\n    The sum."),
    "sphinx": (SPHINX, ":returns: The sum."),
    "epydoc": (EPYDOC, "@return: The sum."),
}


@pytest.mark.parametrize(("text", "returns"), RETURNS.values(), ids=RETURNS)
@pytest.mark.parametrize("rest", ["", REST], ids=["alone", "with more"])
def test_only_the_parameters_are_cut_out_in_each_style(text: str, returns: str, rest: str) -> None:
    found = read_docstring(text.rstrip() + rest, NAMES)
    assert found.description == f"Add numbers.\n\nSlowly, and:\n\n- with care\n\n{returns}{rest}"
    assert found.parameters == {"a": "the first of two", "b": "the second"}


NUMPY_HEAD = "Parameters\n----------\na : int\n    The first."
STAYS = {
    "a paragraph after the parameters": ("Args:\n    a: The first.\n\nNever twice.", "Never twice."),
    "another section": ("Args:\n    a: The first.\nUsage:\n    add(a=1)", "Usage:\n    add(a=1)"),
    "a sentence between the entries": (
        "Args:\n    Both are needed.\n    a: The first.",
        "Args:\n    Both are needed.",
    ),
    "further arguments": (
        "Args:\n    a: The first.\n    **filters: Any column.",
        "Args:\n    **filters: Any column.",
    ),
    "text before and after": ("Slowly.\n\nArgs:\n  a: The first.\n\n\nDone.", "Slowly.\n\nDone."),
    "a Markdown list": ("Args:\n    - `a` (int): The first.\n\nDone.", "Done."),
    "numpy, a paragraph": (f"{NUMPY_HEAD}\n\nNever twice.", "Never twice."),
    "numpy, a paragraph of one word": (f"{NUMPY_HEAD}\n\nDone", "Done"),
    "numpy, a paragraph with a colon": (f"{NUMPY_HEAD}\n\nNote: call it once.", "Note: call it once."),
    "numpy, notes": (f"{NUMPY_HEAD}\n\nNotes\n-----\nSlow.", "Notes\n-----\nSlow."),
    "sphinx, a paragraph": (":param a: The\n  first.\n:type a: int\n\nNever twice.", "Never twice."),
    "epydoc, a paragraph": ("@param a: The first.\n\nNever twice.", "Never twice."),
    "an example with a heading": (
        "Args:\n    a: The first.\n\nExample:\n    Args:\n        b: No entry.",
        "Example:\n    Args:\n        b: No entry.",
    ),
    "a name that is no parameter": (
        "Args:\n    a: The first.\n    size: Small ones are\n        faster.",
        "Args:\n    size: Small ones are\n        faster.",
    ),
    "a name that is none beside one that is": (
        "Args:\n    a, size: The first.",
        "Args:\n    a, size: The first.",
    ),
    "keyword arguments": (
        "Args:\n    a: The first.\n\nKeyword Args:\n    size: Any.",
        "Keyword Args:\n    size: Any.",
    ),
    "numpy, other parameters": (
        f"{NUMPY_HEAD}\n\nOther Parameters\n----------------\nsize : int\n    Any.",
        "Other Parameters\n----------------\nsize : int\n    Any.",
    ),
    "sphinx, another name": (
        ":param a: The first.\n:param size: Any.\n:type size: int",
        ":param size: Any.\n:type size: int",
    ),
    "epydoc, another name": ("@param a: The first.\n@param size: Any.", "@param size: Any."),
    "an example between fences": (
        "Args:\n    a: The first.\n\n```python\nArgs:\n    a: No entry.\n:param a: Nor this.\n```",
        "```python\nArgs:\n    a: No entry.\n:param a: Nor this.\n```",
    ),
    "an example between other fences": (
        "~~~~\n```\nArgs:\n    a: No entry.\n~~~\n~~~~\n\nArgs:\n    a: The first.",
        "~~~~\n```\nArgs:\n    a: No entry.\n~~~\n~~~~",
    ),
    "a fence that is not closed": ("```\n\nArgs:\n    a: The first.", "```"),
    "entries that are not indented": (
        "Args:\na (int): The\n    first.\n\nReturns:\n    It.",
        "Returns:\n    It.",
    ),
    "a text that is no entry below one that is not indented": (
        "Args:\na: The first.\nsize: Any.",
        "size: Any.",
    ),
}


@pytest.mark.parametrize(("text", "description"), STAYS.values(), ids=STAYS)
def test_no_text_is_lost(text: str, description: str) -> None:
    # The first line of a docstring says nothing about the indentation of the others.
    assert read_docstring(f"Do it.\n\n{text}", NAMES) == (f"Do it.\n\n{description}", {"a": "The first."})


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("Args:\n        a: The first.\n        b: The second.\n    ", ""),
        ("Args:\n        a: The\n            first.\n        b: The second.\n    ", ""),
        (
            "Args:\n        a: The first.\n\n        b: The second.\n\n    Returns:\n        It.",
            "Returns:\n    It.",
        ),
        ("Parameters\n    ----------\n    a : int\n        The first.\n    b\n        The second.", ""),
        (":param a: The first.\n    :param b: The second.", ""),
    ],
    ids=["google", "with more lines", "with more sections", "numpy", "sphinx"],
)
def test_a_docstring_may_begin_with_its_parameters(text: str, description: str) -> None:
    found = read_docstring(text, NAMES)
    assert found == (description, {"a": "The first.", "b": "The second."})


def test_what_callers_do_not_see_is_cut_out_and_what_they_see_is_described_once() -> None:
    def add(a: int, ctx: Context) -> int:
        """Add.

        Args:
            a: The first.
            ctx: The context.
            c: Gone.
        """
        return a

    definition = make(add).definition
    assert definition.description == "Add.\n\nArgs:\n    c: Gone."
    assert definition.input_schema["properties"]["a"]["description"] == "The first."
    assert prompt_from_function(add, context_type=Context).definition.description == "Add.\n\nArgs:\n    c: Gone."


def test_where_parameters_are_not_described_elsewhere_their_text_stays() -> None:
    """A template publishes nothing about its variables, and a schema that is written by hand is not changed."""

    def read(a: str, ctx: Context) -> str:
        """Read.

        Args:
            a: The first.
            ctx: The context.
        """
        return a

    text = "Read.\n\nArgs:\n    a: The first."
    template = template_from_function(read, "x://{a}", context_type=Context)
    assert template.definition.description == text
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert make(read, input_schema=schema).definition.description == text


def test_a_tool_says_what_it_returns_and_how_it_is_called() -> None:
    def get(category: str) -> str:
        """Get the schema of a category.

        Args:
            category: One of the categories below.

        Returns:
            A JSON object.

        Valid categories:
            - genetic-associations
        """
        return category

    definition = make(get).definition
    assert definition.description == (
        "Get the schema of a category.\n\nReturns:\n    A JSON object.\n\n"
        "Valid categories:\n    - genetic-associations"
    )
    assert definition.input_schema["properties"]["category"]["description"] == "One of the categories below."


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
    assert read_docstring(text, NAMES) == (text, {})


def test_no_docstring() -> None:
    assert read_docstring(None, NAMES) == ("", {})
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
