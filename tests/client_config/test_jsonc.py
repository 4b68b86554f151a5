"""The reader: it takes what JSON is, and comments and trailing commas, and says where it takes nothing."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from enfilade.client_config import BrokenTextError
from enfilade.client_config.jsonc import Number, check_plain, read
from support.client_config.texts import files


def plainly(text: str) -> Any:
    """Read a text as clients do that know no comments."""
    document = read(text)
    check_plain(document)
    if document.root is None:
        raise BrokenTextError("empty", text, 0)
    return document.root.data()


def refused(word: str) -> None:
    raise ValueError(word)


@given(st.text(st.sampled_from('{}[]",:10e.-+ \n\t/*truefalsn\\"'), max_size=24))
def test_it_takes_what_python_takes_and_nothing_else(text: str) -> None:
    try:
        theirs: Any = json.loads(text, parse_constant=refused, parse_float=Number, parse_int=Number)
    except ValueError:
        with pytest.raises(BrokenTextError):
            plainly(text)
    else:
        assert plainly(text) == theirs


@settings(max_examples=40)
@given(files(comments=False))
def test_it_reads_what_python_reads(text: str) -> None:
    theirs = json.loads(text.removeprefix("\ufeff"), parse_float=Number, parse_int=Number)
    assert plainly(text) == theirs


@settings(max_examples=40)
@given(files(comments=True))
def test_it_knows_where_everything_stands(text: str) -> None:
    document = read(text)
    assert document.root is not None

    def look(node: Any) -> None:
        if not node.opener and isinstance(node.value, Number):
            assert text[node.start : node.end] == node.value
        elif not node.opener:
            assert json.loads(text[node.start : node.end]) == node.value
        for child in node.children:
            assert node.start < child.start <= child.node.start < child.node.end < node.end
            assert child.comma is None or text[child.comma] == ","
            look(child.node)

    look(document.root)
    assert all(text[each.start : each.start + 2] in ("//", "/*") for each in document.comments)


BROKEN = {
    "nothing after a comma": ('{"a": 1,\n  "b": }', 2, 8, "a value is missing here"),
    "no comma": ('{\n  "a": 1\n  "b": 2\n}', 3, 3, "a comma or '}' is missing"),
    "cut off": ('{"a": {"b": [1', 1, 15, "the file ends before ']'"),
    "cut off before a value": ('{"a":', 1, 6, "the file ends too early"),
    "single quotes": ("{'a': 1}", 1, 2, "a key in double quotes"),
    "no colon": ('{"a" 1}', 1, 6, "a colon is missing after the key 'a'"),
    "a word": ('{"a": NaN}', 1, 7, "'NaN' is no value"),
    "Python's words": ('{"a": True}', 1, 7, "'True' is no value"),
    "two values": ("{}\r\n{}", 2, 1, "nothing may follow"),
    "a newline in a string": ('{"a": "x\ny"}', 1, 9, "Invalid control character"),
    "an escape": ('{"a": "\\x"}', 1, 8, "Invalid \\escape"),
    "a comment without end": ("{} /* x", 1, 4, "this comment does not end"),
    "a merge": ('{\n<<<<<<< HEAD\n  "a": 1\n}', 2, 1, "a key in double quotes"),
    "too deep": ("[" * 5000, 1, 201, "more than 200 values"),
    "behind a mark": ("\ufeff{\r\n\r\n,}", 3, 1, "a key in double quotes"),
}


@pytest.mark.parametrize(("text", "line", "column", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_said_with_its_place(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(BrokenTextError, match=re.escape(said)) as caught:
        read(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "column"),
    [('{"a": 1 /* x */, "b": [1,]}', 9), ('{"b": [1,], "a": 1} // x', 9)],
    ids=["comment", "comma"],
)
def test_the_first_liberty_is_what_a_strict_client_is_told_of(text: str, column: int) -> None:
    with pytest.raises(BrokenTextError) as caught:
        check_plain(read(text))
    assert caught.value.column == column
