"""A reader of JSON, with or without comments and trailing commas, that remembers where everything stands.

    text ─▶ Node(start, end, children) ─▶ who edits cuts and pastes by these numbers, and writes nothing else anew

A number is kept as it is written, and so is a string that nobody asks for. The easy thing to get wrong is to
accept what a client would not: all that is not JSON is refused with its place, but for the two liberties above.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json import decoder
from typing import Any, Final

import msgspec

from enfilade.client_config.errors import BrokenTextError

_DEEPEST: Final = 200  # levels of nesting; nobody writes such a file, and Python's own stack has an end
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD: Final = re.compile(r"[^\s,:{}\[\]\"/]+")
_string: Final[Callable[[str, int, bool], tuple[str, int]]] = vars(decoder)["scanstring"]  # not in its stubs
_WORDS: Final = {"true": True, "false": False, "null": None}


class Number(str):
    """A number as it is written: `1.0` is not `1`, and no digit of a long one is lost."""

    __slots__ = ()


class Comment(msgspec.Struct, frozen=True):
    """A comment.

    Attributes:
        start: where it begins.
        end: where it ends; the end of the line does not belong to it.
        to_line_end: whether it ends with its line, so that nothing may follow it there.
    """

    start: int
    end: int
    to_line_end: bool


class Child(msgspec.Struct):
    """A member of an object, or an item of an array.

    Attributes:
        start: where it begins, with its key if it has one.
        node: its value.
        key: its key; None in an array.
        comma: where the comma after it stands, or None.
    """

    start: int
    node: Node
    key: str | None = None
    comma: int | None = None


class Node(msgspec.Struct):
    """A value and where it stands.

    Attributes:
        start: its first character.
        end: the one after its last.
        value: what it is if it is no container; a number as `Number`.
        children: members or items, in order, each as often as it is written.
        opener: `{`, `[`, or nothing.
    """

    start: int
    end: int = 0
    value: Any = None
    children: list[Child] = []
    opener: str = ""

    @property
    def is_null(self) -> bool:
        """Whether it is `null`."""
        return not self.opener and self.value is None

    def member(self, key: str) -> Child | None:
        """Return the member that counts, which is the last of that name."""
        return next((child for child in reversed(self.children) if child.key == key), None)

    def data(self) -> Any:
        """Return the value in Python's types, numbers as `Number`."""
        if self.opener == "{":
            return {child.key: child.node.data() for child in self.children}
        return [child.node.data() for child in self.children] if self.opener == "[" else self.value


class Document(msgspec.Struct):
    """What a text holds.

    Attributes:
        text: the text.
        root: its value; None if there is nothing but white space and comments.
        comments: all comments, in order.
        trailing_comma: where the first comma stands that JSON does not allow, or None.
    """

    text: str
    root: Node | None = None
    comments: list[Comment] = []
    trailing_comma: int | None = None


def read(text: str) -> Document:
    """Read a text.

    Raises:
        BrokenTextError: it is no JSON, whatever the liberties.
    """
    reader = _Reader(text)
    reader.skip()
    document = reader.document
    if reader.at < len(text):
        document.root = reader.value(0)
        reader.skip()
        if reader.at < len(text):
            raise reader.broken("nothing may follow the outermost value")
    return document


def check_plain(document: Document) -> None:
    """Refuse comments and trailing commas, for a client that does not read them.

    Raises:
        BrokenTextError: there are some.
    """
    found = [("comments are", comment.start) for comment in document.comments[:1]]
    if document.trailing_comma is not None:
        found.append(("a comma before a closing bracket is", document.trailing_comma))
    for what, position in sorted(found, key=lambda each: each[1])[:1]:
        raise BrokenTextError(f"{what} not allowed in this file", document.text, position)


class _Reader:
    def __init__(self, text: str) -> None:
        self.document = Document(text)
        self.text = text
        self.at = 1 if text.startswith("\ufeff") else 0

    def broken(self, problem: str, position: int | None = None) -> BrokenTextError:
        return BrokenTextError(problem, self.text, self.at if position is None else position)

    def skip(self) -> None:
        """Go past white space and comments."""
        while True:
            self.at = _end(_SPACE, self.text, self.at)
            if not self.text.startswith(("//", "/*"), self.at):
                return
            start, to_line_end = self.at, self.text[self.at + 1] == "/"
            if to_line_end:
                found = re.compile(r"[\r\n]").search(self.text, start)
                self.at = found.start() if found else len(self.text)
            elif (closed := self.text.find("*/", start + 2)) >= 0:
                self.at = closed + 2
            else:
                raise self.broken("this comment does not end")
            self.document.comments.append(Comment(start, self.at, to_line_end))

    def value(self, depth: int) -> Node:
        first = self.text[self.at : self.at + 1]
        if first and first in "{[":
            if depth >= _DEEPEST:
                raise self.broken(f"more than {_DEEPEST} values lie within each other")
            return self._container(first, depth)
        node = Node(self.at)
        if first == '"':
            node.value = self._string()
        elif first and first in "-0123456789" and (number := _NUMBER.match(self.text, self.at)):
            node.value = Number(number[0])
            self.at = number.end()
        else:
            node.value = self._word()
        node.end = self.at
        return node

    def _string(self) -> str:
        try:
            text, self.at = _string(self.text, self.at + 1, True)
        except decoder.JSONDecodeError as error:
            raise self.broken(f"in this string: {error.msg.removesuffix(' at')}", error.pos) from None
        return text

    def _word(self) -> bool | None:
        word = _WORD.match(self.text, self.at)
        if word is None:
            raise self.broken(
                "a value is missing here" if self.at < len(self.text) else "the file ends too early"
            )
        if word[0] not in _WORDS:
            raise self.broken(f"{_short(word[0])} is no value in JSON")
        self.at = word.end()
        return _WORDS[word[0]]

    def _container(self, opener: str, depth: int) -> Node:
        node, closer = Node(self.at, opener=opener, children=[]), {"{": "}", "[": "]"}[opener]
        self.at += 1
        for child in self._children(closer, depth):
            node.children.append(child)
        self.at += 1
        node.end = self.at
        return node

    def _children(self, closer: str, depth: int) -> Iterator[Child]:
        comma: int | None = None
        more = True
        while True:
            self.skip()
            if self.text.startswith(closer, self.at):
                if comma is not None and self.document.trailing_comma is None:
                    self.document.trailing_comma = comma
                return
            if self.at == len(self.text):
                raise self.broken(f"the file ends before {closer!r}")
            if not more:
                raise self.broken(f"a comma or {closer!r} is missing here")
            start = self.at
            key = self._key() if closer == "}" else None
            child = Child(start, self.value(depth + 1), key)
            self.skip()
            more = self.text.startswith(",", self.at)
            comma = child.comma = self.at if more else None
            self.at += more
            yield child

    def _key(self) -> str:
        if not self.text.startswith('"', self.at):
            raise self.broken("a key in double quotes is missing here")
        key = self._string()
        self.skip()
        if not self.text.startswith(":", self.at):
            raise self.broken(f"a colon is missing after the key {_short(key)}")
        self.at += 1
        self.skip()
        return key


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _short(text: str) -> str:
    """Return a word of a file for a complaint: what stands there may be long, and a secret."""
    return repr(text if len(text) <= 20 else text[:17] + "…")
