"""One entry in a YAML file: lines are added and taken away, and no other is touched."""

import sys
from typing import Any

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from enfilade.client_config import BrokenTextError, ClientFileError
from enfilade.client_config.yaml_edit import drop, find, meaning, names, put

PATH = ["extensions", "sums"]
VALUE: dict[str, Any] = {"enabled": True, "cmd": 'C:\\é "x"', "args": ["run", "#", ": "], "timeout": 300}

_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(codec="utf-8"), max_size=8))
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abc:", max_size=3), inner),
    max_leaves=6,
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Return a file as programs and people write it: settings, remarks, and often extensions."""
    said: dict[str, Any] = draw(st.dictionaries(st.sampled_from(["A", "b c", "GOOSE_MODE"]), _VALUES))
    if draw(st.booleans()):
        entries = draw(st.dictionaries(st.sampled_from(["developer", "memory", "no"]), _VALUES, max_size=3))
        said = {**said, "extensions": entries, **draw(st.dictionaries(st.just("last"), _VALUES))}
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=draw(st.booleans())) if said else ""
    if draw(st.booleans()):
        text = "# mine: {[\n\n" + text + "\n# the end\n"
    return text.replace("\n", "\r\n") if draw(st.booleans()) and "\r" not in text else text


@settings(max_examples=60)
@given(files())
def test_all_else_stays_line_for_line(text: str) -> None:
    after = put(text, PATH, VALUE)
    assert find(after, PATH) == yaml.safe_load(after)["extensions"]["sums"] == VALUE
    assert meaning(after, PATH) == meaning(text, PATH)
    others = iter(after.splitlines())
    assert [line for line in text.splitlines() if "extensions:" not in line and line not in others] == []
    assert put(after, PATH, VALUE) == after
    back = drop(after, PATH)
    assert meaning(back, PATH) == meaning(text, PATH)
    if "extensions:" in text:
        assert back == text


LAYOUTS = {
    "nothing": ("", "extensions:\n  sums:\n    a: 1\n"),
    "no extensions": ("A: 1 # one", "A: 1 # one\nextensions:\n  sums:\n    a: 1"),
    "none yet": ("extensions:\nA: 1\n", "extensions:\n  sums:\n    a: 1\nA: 1\n"),
    "a null": ("extensions: null\nA: 1\n", "extensions:\n  sums:\n    a: 1\nA: 1\n"),
    "a null by its sign": ("extensions: ~ # c\n", "extensions: # c\n  sums:\n    a: 1\n"),
    "none yet, in braces": ("extensions: {} # c\n", "extensions: # c\n  sums:\n    a: 1\n"),
    "indented by four": (
        "extensions:\n    x:\n        b: 2\n\n# end\n",
        "extensions:\n    x:\n        b: 2\n    sums:\n      a: 1\n\n# end\n",
    ),
    "another of that name": ("extensions:\n  sums: {b: 2}\n  x: 1\n", "extensions:\n  sums:\n    a: 1\n  x: 1\n"),
    "another of that name in lines": (
        "extensions:\n  sums:\n    b: |\n      two\n# c\n",
        "extensions:\n  sums:\n    a: 1\n# c\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), LAYOUTS.values(), ids=LAYOUTS)
def test_an_entry_looks_like_what_is_around_it(before: str, after: str) -> None:
    assert put(before, PATH, {"a": 1}) == after
    assert meaning(after, PATH) == meaning(before, PATH)


def test_comments_of_others_survive_a_removal() -> None:
    text = "extensions:\n  x: 1 # one\n  sums:\n    a: 1\n  # about y\n  y: null\n\n# the provider\nA: 1\n"
    assert drop(text, PATH) == "extensions:\n  x: 1 # one\n  # about y\n  y: null\n\n# the provider\nA: 1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2\n", "line 2, column 1|line 2, column 2|line 3"),
        ("a: 1\n\tb: 2\n", "line 2, column 1: found character"),
        ("{extensions: {}}", "the file is written in a way"),
        ("- a\n", "the file is written in a way"),
        ("extensions: {x: 1}\n", "line 1, column 13: 'extensions' is written"),
        ("a: &x {}\nextensions: *x\n", "line 2, column 1: 'extensions' is written"),
        ("a: 1\n---\nb: 1\n", "line 2"),
        ("a: \x01\n", "this is no YAML"),
    ],
)
def test_what_is_not_in_plain_lines_is_refused(text: str, said: str) -> None:
    with pytest.raises(BrokenTextError, match=said):
        put(text, PATH, VALUE)


def test_names_are_those_of_the_extensions() -> None:
    assert names("extensions:\n  a: 1\n  b: {}\nc: 1\n", "extensions") == ["a", "b"]
    assert names("extensions:\n", "extensions") == names("", "extensions") == []


def test_without_pyyaml_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ClientFileError, match=r'this needs more packages: pip install "enfilade\[dev\]"'):
        find("a: 1", PATH)
