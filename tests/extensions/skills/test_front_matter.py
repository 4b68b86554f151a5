"""`front_matter.py`: what YAML 1.2 says becomes JSON, all else is refused with advice, and small files stay
small."""

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st

from enfilade.extensions.skills.front_matter import (
    LONGEST,
    FrontMatterError,
    read_front_matter,
    write_front_matter,
)


def read(yaml_text: str) -> Any:
    return read_front_matter(f"---\n{yaml_text}\n---\n# Text\n".encode())


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("x", "x"),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("1.0", 1.0),
        (".5", 0.5),
        ("2.", 2.0),
        ("6e3", 6000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        # YAML 1.1 has other ideas of these
        ("yes", "yes"),
        ("on", "on"),
        ("2026-07-28", "2026-07-28"),
        ("2026-07-28T12:00:00Z", "2026-07-28T12:00:00Z"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("'12'", "12"),
        ('"null"', "null"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("[a, 1, {b: c}]", ["a", 1, {"b": "c"}]),
        ("|\n  one\n  two", "one\ntwo\n"),
        (">-\n  one\n  two", "one two"),
        ("9223372036854775807", 9223372036854775807),
    ],
)
def test_scalars_are_those_of_the_core_schema(written: str, value: object) -> None:
    """X-SKILL-3: verbatim, as hosts read it."""
    found = read(f"a: {written}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_texts() -> None:
    """X-SKILL-3."""
    assert read("1: a\ntrue: b\n'c d': e\n<<: f") == {"1": "a", "true": "b", "c d": "e", "<<": "f"}


def test_a_surrogate_pair_is_one_character() -> None:
    """Parsers in JavaScript, which hosts have, read both escapes as one."""
    assert read(r'"\ud83d\ude00": "a\ud83d\ude00é😀"') == {"😀": "a😀é😀"}


def test_aliases_are_written_out() -> None:
    """X-SKILL-3."""
    assert read("a: &x [1, &y {b: c}]\nd: *x\ne: *y") == {
        "a": [1, {"b": "c"}],
        "d": [1, {"b": "c"}],
        "e": {"b": "c"},
    }


@pytest.mark.parametrize(
    "data",
    [
        b"---\r\nname: x\r\n---\r\n# Text\r\n",
        b"\xef\xbb\xbf---\nname: x\n---\n",
        b"---\nname: x\n---",
        b"---\nname: x\n---  \t\n---\n",
    ],
)
def test_where_it_begins_and_ends(data: bytes) -> None:
    assert read_front_matter(data) == {"name": "x"}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("a: b: c", "line 2: its front matter is no YAML: .*; put a text that has a colon or # into quotes"),
        ("a: 1\na: 2", "line 3: 'a' is there twice"),
        ("a: {b: 1, b: 2}", "'b' is there twice"),
        ("a: .inf", "line 2: .inf is no number that JSON has; put it into quotes"),
        ("a: -.INF", "no number that JSON has"),
        ("a: .NaN", "no number that JSON has"),
        ("a: 1e999", "1e999 is no number"),
        ("a: 9223372036854775808", "is no number that JSON has"),
        (f"a: {'9' * 5000}", "is no number that JSON has"),
        ("a: !!timestamp 2026-07-28", "the tag 'tag:yaml.org,2002:timestamp' has no meaning in JSON"),
        ("a: !!python/object/apply:os.system [ls]", "has no meaning in JSON"),
        ("a: !!binary aGVsbG8=", "has no meaning in JSON"),
        ("a: !!set {b, c}", "has no meaning in JSON"),
        ("? [a, b]\n: c", "a key is a text in JSON"),
        ("? {a: b}\n: c", "a key is a text in JSON"),
        ("a: &x b\n*x : c", "a key is a text in JSON"),
        ("a: &x [*x]", r"\*x stands for nothing that has ended before"),
        ("a: *nothing", r"\*nothing stands for nothing"),
        ("- a\n- b", "its front matter is no mapping"),
        ("just text", "its front matter is no mapping"),
        ("a: b\n...\nc: d", "no YAML|several documents"),
        ("a: \x07", "no YAML"),
        ("a: [" + "[" * 40 + "]" * 41, "line 2: more than 32 levels"),
        ("a: " + "[" * 60_000, "line 2: more than 32 levels"),
        ("a: {" * 40, "more than 32 levels"),
        (
            f"a: &a {'[' * 16}{']' * 16}\nb: {'[' * 15}*a{']' * 15}\nc: {'[' * 16}*a{']' * 16}",
            "line 4: more than",
        ),
        ("a0: &a0 []\n" + "\n".join(f"a{n}: &a{n} [[*a{n - 1}]]" for n in range(1, 100)), "more than 32 levels"),
        ("%YAML 3.0", "no YAML"),
        (r'a: "\ud800"', "line 2: it has half a surrogate pair"),
        (r'"\ude00\ud83d": a', "line 2: it has half a surrogate pair"),
        (r'a: "\U00110000"', "an escape in it stands for no character"),
        (r'a: "\UFFFFFFFF"', "an escape in it stands for no character"),
    ],
)
def test_what_has_no_form_in_json_is_refused(written: str, message: str) -> None:
    with pytest.raises(FrontMatterError, match=message):
        read(written)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has no front matter; begin it with a line ---"),
        (b"# Title\n", "it has no front matter"),
        (b"\n---\nname: x\n---\n", "it has no front matter"),
        (b"--- \nname: x\n---\n", "it has no front matter"),
        (b"---\nname: x\n", "does not end within 65536 bytes"),
        (b"---\nname: x\n" + b"# " + b"x" * LONGEST + b"\n---\n", "does not end within 65536 bytes"),
        (b"---\nname: \xff\n---\n", "it is not UTF-8; save it as UTF-8"),
        (b"---\nname: x\n---\n\xc3\x28", "it is not UTF-8"),
    ],
)
def test_files_without_a_front_matter(data: bytes, message: str) -> None:
    with pytest.raises(FrontMatterError, match=message):
        read_front_matter(data)


def test_a_small_file_does_not_become_a_large_value() -> None:
    """Nine aliases of nine aliases: a billion values of 400 bytes."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(FrontMatterError, match="too much in it, with its aliases"):
        read("\n".join(lines))


def test_a_long_text_may_not_be_repeated_without_end() -> None:
    with pytest.raises(FrontMatterError, match="too much in it, with its aliases"):
        read(f"a: &a {'x' * 10_000}\nb: [{', '.join(['*a'] * 100)}]")


def test_a_front_matter_may_be_as_long_as_the_bound() -> None:
    value = "x" * (LONGEST - 100)
    assert read(f"a: {value}") == {"a": value}


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), values, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), PLAIN, min_size=1, max_size=4)
)
def test_what_is_written_is_read_again(members: dict[str, Any]) -> None:
    """X-SKILL-3: for skills in code the entry and the file say the same."""
    written = write_front_matter(members)
    assert json.dumps(read_front_matter(written.encode())) == json.dumps(members)


def test_what_is_written_is_what_other_parsers_read() -> None:
    members = {"name": "a-b", "description": "A: b # c\n'd' \"e\"", "null": "null", "n": {"k": [1.5, None, "x"]}}
    text = write_front_matter(members)
    assert yaml.safe_load(text.split("---\n")[1]) == members
    assert text.startswith('---\nname: "a-b"\ndescription: "A: b # c\\n')


@pytest.mark.parametrize("value", [math.inf, math.nan, {1, 2}, b"x", object(), "\ud800", {"a": "\udfff"}])
def test_what_cannot_be_written_is_refused(value: object) -> None:
    with pytest.raises(FrontMatterError, match="the front matter has no form in JSON"):
        write_front_matter({"a": value})


def test_too_much_is_not_written() -> None:
    with pytest.raises(FrontMatterError, match="more than 65536 bytes"):
        write_front_matter({"a": "x" * LONGEST})
