"""Fields of a form, read from what somebody types."""

from typing import Any

import pytest

from enfilade.cli.questions import OMITTED, FormField, fields_of

TITLED = [{"const": "a", "title": "Alpha"}, {"const": "b", "title": "Beta"}]
SCHEMAS: dict[str, dict[str, Any]] = {
    "text": {"type": "string", "minLength": 2},
    "mail": {"type": "string", "format": "email"},
    "count": {"type": "integer", "minimum": 1, "maximum": 9},
    "flag": {"type": "boolean"},
    "plain": {"type": "string", "enum": ["2", "1", "x"]},
    "named": {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]},
    "titled": {"type": "string", "oneOf": TITLED},
    "several": {"type": "array", "items": {"type": "string", "enum": ["r", "g", "b"]}, "maxItems": 2},
    "titles": {"type": "array", "items": {"anyOf": TITLED}},
    "usual": {"type": "integer", "default": 7},
}

READ: list[tuple[str, str, Any]] = [
    ("text", "ab", "ab"),
    ("mail", "a@b.example", "a@b.example"),
    ("count", "9", 9),
    ("flag", "y", True),
    ("flag", "off", False),
    ("plain", "1", "1"),  # the value, not the first of the list
    ("plain", "3", "x"),
    ("named", "large", "l"),
    ("named", "s", "s"),
    ("named", "2", "l"),
    ("titled", "Beta", "b"),
    ("several", "b, 1", ["b", "r"]),
    ("titles", "alpha,2", ["a", "b"]),
    ("usual", "", 7),
    ("text", "", OMITTED),
]
REFUSED: list[tuple[str, str, str]] = [
    ("text", "a", "shorter than 2"),
    ("mail", "nobody", "email"),
    ("count", "10", "greater than the maximum of 9"),
    ("count", "many", "expected an integer, got 'many'"),
    ("flag", "perhaps", "expected true or false"),
    ("named", "Lrge", "none of the 2 choices; did you mean 'Large'?"),
    ("several", "r,g,b", "more than 2 items"),
    ("several", "9", "'9' is none of the 3 choices"),
]


@pytest.mark.parametrize(("name", "text", "value"), READ)
def test_what_is_typed_is_read(name: str, text: str, value: Any) -> None:
    assert FormField(name, SCHEMAS[name], required=False).read(text) == value


@pytest.mark.parametrize(("name", "text", "said"), REFUSED)
def test_what_does_not_fit_is_explained(name: str, text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        FormField(name, SCHEMAS[name], required=False).read(text)
    assert said in str(caught.value)


def test_what_is_needed_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="this is needed"):
        FormField("text", SCHEMAS["text"], required=True).read("")


def test_the_fields_of_a_form() -> None:
    fields = fields_of({"properties": SCHEMAS, "required": ["flag"]})
    assert [each.name for each in fields] == list(SCHEMAS)
    assert [each.name for each in fields if each.required] == ["flag"]
    assert {each.name: each.hint for each in fields} == {
        "text": "string",
        "mail": "email",
        "count": "integer",
        "flag": "y/n",
        "usual": "integer",
        **dict.fromkeys(("plain", "named", "titled"), "number or name"),
        **dict.fromkeys(("several", "titles"), "numbers or names, separated by commas"),
    }


def test_a_reference_to_elsewhere_is_not_fetched() -> None:
    with pytest.raises(ValueError, match="not fetched"):
        FormField("x", {"type": "string", "$ref": "http://127.0.0.1:9/x"}, required=False).read("x")
