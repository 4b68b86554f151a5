"""From words to arguments: each type, each way to write a value, and errors that name the argument."""

from pathlib import Path
from typing import Any

import pytest

from enfilade.client.json_values import type_name
from enfilade.testing import ArgumentError, read_arguments

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "x": {"type": "number"},
        "flag": {"type": "boolean"},
        "text": {"type": "string"},
        "colour": {"enum": ["red", "green", 3]},
        "size": {"type": "string", "oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "counts": {"type": "array", "items": {"type": "integer"}},
        "box": {"$ref": "#/$defs/Box"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "said": {"type": ["string", "null"]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "any": {},
    },
    "$defs": {"Box": {"type": "object", "properties": {"label": {"type": "string"}}}},
}

WORDS: dict[str, Any] = {
    "n=5": 5,
    "n=-5": -5,
    "x=5": 5,
    "x=.5": 0.5,
    "x=1e3": 1000.0,
    "flag=yes": True,
    "flag=False": False,
    "text=a=b": "a=b",
    "text=": "",
    "text=5": "5",
    "text:=null": None,
    "text=@@home": "@home",
    "colour=green": "green",
    "colour=3": 3,
    "size=l": "l",
    'tags=["a","b"]': ["a", "b"],
    "tags=one": ["one"],
    "counts=4": [4],
    "counts:=[1,2]": [1, 2],
    'box={"label":"x"}': {"label": "x"},
    "maybe=7": 7,
    "maybe=null": None,
    "said=null": "null",
    "either=5": 5,
    "either=five": "five",
    "any=5": "5",
    "any:=5": 5,
}

MISTAKES: dict[str, str] = {
    "n=five": "argument 'n': expected an integer, got 'five'",
    "n=1.5": "argument 'n': expected an integer, got '1.5'",
    "x=much": "argument 'x': expected a number, got 'much'",
    "flag=perhaps": "argument 'flag': expected true or false, got 'perhaps'",
    "colour=gren": "argument 'colour': expected red, green, 3, got 'gren'; did you mean 'green'",
    "box=[1]": "argument 'box': expected a JSON object, got '[1]'",
    "counts=one": "argument 'counts': expected an integer, got 'one'",
    "maybe=x": "argument 'maybe': expected an integer or null, got 'x'",
    "n:={": "argument 'n': expected JSON after :=, got '{'",
    "flg=1": "there is no argument 'flg'; did you mean 'flag'? (it takes n, x, flag,",
    "five": "'five' is no argument; write name=value, or name:=json",
    "text=@nowhere.txt": "argument 'text': cannot read the file 'nowhere.txt': No such file",
}


@pytest.mark.parametrize(("word", "value"), WORDS.items(), ids=WORDS)
def test_a_word_becomes_a_value_of_its_schema(word: str, value: Any) -> None:
    (found,) = read_arguments([word], SCHEMA).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("word", "said"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_names_the_argument(word: str, said: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        read_arguments([word], SCHEMA)
    assert said in str(caught.value)


def test_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "box.json"
    file.write_text('{"label": "ä"}', encoding="utf-8")
    assert read_arguments([f"text=@{file}", f"any:=@{file}"], SCHEMA) == {
        "text": '{"label": "ä"}',
        "any": {"label": "ä"},
    }
    file.write_bytes(b"\xff")
    with pytest.raises(ArgumentError, match="it is not UTF-8"):
        read_arguments([f"text=@{file}"], SCHEMA)


def test_names_that_are_repeated_make_an_array_or_a_mistake() -> None:
    assert read_arguments(["tags=a", 'tags=["b","c"]', "tags=d"], SCHEMA) == {"tags": ["a", "b", "c", "d"]}
    with pytest.raises(ArgumentError, match="'n' is given twice"):
        read_arguments(["n=1", "n=2"], SCHEMA)


def test_what_is_missing_is_named_with_its_type() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "description": "how many"}, "b": {"type": "string"}},
        "required": ["a", "b"],
    }
    with pytest.raises(ArgumentError, match="missing argument: a=<an integer: how many>"):
        read_arguments(["b=x"], schema)
    assert read_arguments(["b=x"], schema, {"a": "as it is", "b": "y"}) == {"a": "as it is", "b": "x"}


def test_a_schema_that_is_open_takes_other_names() -> None:
    assert read_arguments(["x=1"], {"additionalProperties": {"type": "integer"}}) == {"x": 1}
    assert read_arguments(["x=1"], {"type": "object"}) == {"x": "1"}
    with pytest.raises(ArgumentError, match=r"there is no argument 'x' \(it takes none\)"):
        read_arguments(["x=1"], {"additionalProperties": False})


@pytest.mark.parametrize(
    ("name", "written"),
    {
        "n": "integer",
        "colour": "red | green | 3",
        "size": "s | l",
        "tags": "array of string",
        "box": "object",
        "maybe": "integer | null",
        "said": "string | null",
        "any": "any",
    }.items(),
)
def test_types_are_written_as_people_do(name: str, written: str) -> None:
    assert type_name(SCHEMA["properties"][name], SCHEMA) == written


def test_references_in_a_circle_come_to_an_end() -> None:
    schema = {"properties": {"a": {"$ref": "#/properties/a"}, "b": {"$ref": "#/nowhere"}}}
    assert read_arguments(["a=1", "b=2"], schema) == {"a": "1", "b": "2"}
