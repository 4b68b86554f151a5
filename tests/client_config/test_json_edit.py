"""One entry in, one entry out: every other byte of a client's file stays."""

import re
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from enfilade.client_config import BrokenTextError
from enfilade.client_config.json_edit import drop, drop_input, find, meaning, names, put, put_input
from enfilade.client_config.jsonc import JsonNode, read
from support.client_config.texts import files

PATH = ["mcpServers", "an entry of ours"]
VALUE = {"command": "/usr/bin/enfilade", "args": ["run", 'a "quoted" é.py'], "env": {}}


def tokens(text: str, ours: tuple[int, int] = (0, 0)) -> str:
    """Return a text without white space and commas, and without what is ours."""
    return re.sub(r"[\s,]", "", text[: ours[0]] + text[ours[1] :])


def placed(text: str, *path: str) -> tuple[int, int]:
    """Return where the member under some keys begins and ends."""
    node = read(text).root
    start = 0
    for key in path:
        child = None if node is None else node.member(key)
        assert child is not None
        start, node = child.start, child.node
    return start, node.end if node else 0


def children(text: str) -> list[Any]:
    root: JsonNode | None = read(text).root
    child = root.member("mcpServers") if root is not None else None
    return [] if child is None else child.node.children


@settings(max_examples=50)
@given(files(comments=True))
def test_all_else_stays_byte_for_byte(text: str) -> None:
    after = put(text, PATH, VALUE)
    assert find(after, PATH) == VALUE
    assert meaning(after, PATH) == meaning(text, PATH)
    had_servers = find(text, PATH[:1]) is not None
    assert tokens(after, placed(after, *PATH[: 1 + had_servers])) == tokens(text)
    assert after.startswith("\ufeff") == text.startswith("\ufeff")


@settings(max_examples=50)
@given(files(comments=True))
def test_what_was_put_in_comes_out_again(text: str) -> None:
    back = drop(put(text, PATH, VALUE), PATH)
    assert meaning(back, PATH) == meaning(text, PATH)
    if children(text):
        assert back == text


@settings(max_examples=50)
@given(files(comments=False))
def test_a_file_without_liberties_gets_none(text: str) -> None:
    for each in (after := put(text, PATH, VALUE), drop(after, PATH)):
        document = read(each)
        assert (document.comments, document.trailing_comma) == ([], None)


@settings(max_examples=50)
@given(files(comments=True), st.integers(0, 100))
def test_any_entry_can_be_replaced_and_removed(text: str, which: int) -> None:
    if not (there := children(text)):
        return
    path = ["mcpServers", there[which % len(there)].key]
    assert meaning(replaced := put(text, path, VALUE), path) == meaning(text, path)
    assert find(replaced, path) == VALUE
    assert put(replaced, path, VALUE) == replaced
    gone = drop(text, path)
    assert meaning(gone, path) == meaning(text, path)
    assert find(gone, path) is None
    assert len(read(gone).comments) >= len(read(text).comments) - inside(text, path)


def inside(text: str, path: list[str]) -> int:
    """Return how many comments lie within the members under a path."""
    spans = [(each.start, each.node.end) for each in children(text) if each.key == path[1]]
    return sum(any(start < each.start < end for start, end in spans) for each in read(text).comments)


LAYOUTS = {
    "nothing": ("", '{\n  "s": {\n    "x": {\n      "a": 1\n    }\n  }\n}\n'),
    "only a comment": ("// mine", '// mine\n{\n  "s": {\n    "x": {\n      "a": 1\n    }\n  }\n}\n'),
    "no servers": ('{\n  "k": 1\n}', '{\n  "k": 1,\n  "s": {\n    "x": {\n      "a": 1\n    }\n  }\n}'),
    "an empty object": ('{"s": {}}\n', '{"s": {"x": {"a": 1}}}\n'),
    "tabs and CRLF": (
        '{\r\n\t"s": {\r\n\t\t"o": {}\r\n\t}\r\n}\r\n',
        '{\r\n\t"s": {\r\n\t\t"o": {},\r\n\t\t"x": {\r\n\t\t\t"a": 1\r\n\t\t}\r\n\t}\r\n}\r\n',
    ),
    "trailing commas and comments": (
        '{\n    "s": {\n        "o": {}, // theirs  \n        // the end\n    },\n}',
        '{\n    "s": {\n        "o": {}, // theirs  \n        "x": {\n            "a": 1\n        },\n'
        "        // the end\n    },\n}",
    ),
    "a comment where a comma must go": (
        '{\n  "s": {\n    "o": {} // theirs\n  }\n}',
        '{\n  "s": {\n    "o": {}, // theirs\n    "x": {\n      "a": 1\n    }\n  }\n}',
    ),
    "one line": ('{"k":1,"s":{"o":{}}}', '{"k":1,"s":{"o":{}, "x": {"a": 1}}}'),
    "the same key twice": ('{"s":{"o":1},"s":{"p":2}}', '{"s":{"o":1},"s":{"p":2, "x": {"a": 1}}}'),
    "no servers, but a remark": (
        '{\n  "s": {\n    // none yet\n  }\n}',
        '{\n  "s": {\n    // none yet\n    "x": {\n      "a": 1\n    }\n  }\n}',
    ),
}


@pytest.mark.parametrize(("before", "after"), LAYOUTS.values(), ids=LAYOUTS)
def test_an_entry_looks_like_what_is_around_it(before: str, after: str) -> None:
    assert put(before, ["s", "x"], {"a": 1}) == after


REMOVED = {
    "the first": ('{"s": {"x": 1, "o": 2}}', '{"s": { "o": 2}}'),
    "the only one": ('{"s": {\n  "x": 1\n}}', '{"s": {}}'),
    "twice": ('{"s": {"x": 1, "o": 2, "x": 3}}', '{"s": { "o": 2}}'),
    "before what follows a comment": ('{"s": { // all\n "x": 1 }}', '{"s": { // all\n }}'),
    "a remark before the comma": ('{"s": { // o\n"x": 1 /* x\n */,\n}}', '{"s": { // o\n /* x\n */\n}}'),
    "remarks stay": ('{"s": {"o": 1, // o\n "x": 1 /* x */, // y\n}}', '{"s": {"o": 1, // o\n /* x */ // y\n}}'),
}


@pytest.mark.parametrize(("before", "after"), REMOVED.values(), ids=REMOVED)
def test_what_is_left_of_a_removed_entry(before: str, after: str) -> None:
    gone = drop(before, ["s", "x"])
    assert meaning(gone, ["s", "x"]) == meaning(before, ["s", "x"])
    assert gone == after


NULLS = {
    "where the servers are": ('{"a": 1, "s": null, "z": 2}', '{"a": 1, "s": {"x": {"a": 1}}, "z": 2}'),
    "on a line of its own": (
        '{\n  "s": null // none\n}',
        '{\n  "s": {\n    "x": {\n      "a": 1\n    }\n  } // none\n}',
    ),
    "where the entry is": ('{"s": {"x": null}}', '{"s": {"x": {"a": 1}}}'),
    "the whole file": ("null\n", '{\n  "s": {\n    "x": {\n      "a": 1\n    }\n  }\n}\n'),
}


@pytest.mark.parametrize(("before", "after"), NULLS.values(), ids=NULLS)
def test_a_null_counts_as_nothing(before: str, after: str) -> None:
    """Some programs write one where they have no servers."""
    assert (find(before, ["s", "x"]), names(before, "s")) in ((None, []), (None, ["x"]))
    assert put(before, ["s", "x"], {"a": 1}) == after
    assert meaning(after, ["s", "x"]) == meaning(before, ["s", "x"])
    if '"x"' not in before:
        assert drop(before, ["s", "x"]) == before


def test_a_null_in_the_place_of_an_array_counts_as_nothing() -> None:
    text = '{"inputs": null}'
    assert drop_input(text, "one") == text
    after = put_input(text, {"id": "one"})
    assert find(after, ["inputs"]) == [{"id": "one"}]
    assert meaning(after, ["s", "x"], ["one"]) == meaning(text, ["s", "x"], ["one"])


def test_items_are_put_into_arrays_once() -> None:
    one, two = {"id": "one"}, {"id": "two"}
    text = put_input('{\n  "inputs": [\n    {"id": "one"} // mine\n  ]\n}', two)
    assert text == '{\n  "inputs": [\n    {"id": "one"}, // mine\n    {\n      "id": "two"\n    }\n  ]\n}'
    assert put_input(text, one) == text
    assert drop_input(text, "two") == '{\n  "inputs": [\n    {"id": "one"} // mine\n  ]\n}'
    assert find(put_input("{}", one), ["inputs"]) == [one]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "the file should be an object here"),
        ('{"s": []}', "'s' should be an object here"),
        ('{"s": "text"}', "'s' should be"),
    ],
)
def test_what_is_no_object_is_refused(text: str, said: str) -> None:
    with pytest.raises(BrokenTextError, match=said):
        put(text, ["s", "x"], 1)
