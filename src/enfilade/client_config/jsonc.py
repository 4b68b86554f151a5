"""A parser of JSON, with or without comments and trailing commas, that records the position of every value.

    text ─▶ JsonNode(start, end, children) ─▶ an editor replaces spans, and writes nothing else again

Numbers stay as they are written: `1.0` is not `1`.

Easy to get wrong: accepting what a client would refuse. Except for comments and trailing commas, everything that
is not JSON is an error with its position.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json import decoder
from typing import Any, Final

import msgspec

from enfilade.client_config import BrokenTextError

_MAX_DEPTH: Final = 200  # levels of nesting; more might exceed the recursion limit
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LITERAL: Final = re.compile(r"[^\s,:{}\[\]\"/]+")
_string: Final[Callable[[str, int, bool], tuple[str, int]]] = vars(decoder)["scanstring"]  # not in its stubs
_LITERALS: Final = {"true": True, "false": False, "null": None}


class Number(str):
    """A number as it is written, so that no digit is lost."""

    __slots__ = ()


class Comment(msgspec.Struct, frozen=True):
    """A comment.

    Attributes:
        start: position of its first character.
        end: position after its last one, before the end of the line.
        to_line_end: whether it extends to the end of the line, so that nothing may follow it there.
    """

    start: int
    end: int
    to_line_end: bool


class Child(msgspec.Struct):
    """A member of an object, or an item of an array.

    Attributes:
        start: position of its first character, that of its key in an object.
        node: its value.
        key: its key; None in an array.
        comma: position of the comma after it, or None.
    """

    start: int
    node: JsonNode
    key: str | None = None
    comma: int | None = None


class JsonNode(msgspec.Struct):
    """A value and its position.

    Attributes:
        start: position of its first character.
        end: position after its last one.
        value: its value unless it is a container; a number as `Number`.
        children: members or items in order, including duplicates.
        opener: `{` or `[` of a container; empty for other values.
    """

    start: int
    end: int = 0
    value: Any = None
    children: list[Child] = []
    opener: str = ""

    @property
    def is_null(self) -> bool:
        """Whether it is null."""
        return not self.opener and self.value is None

    def member(self, key: str) -> Child | None:
        """Return the member of a name; the last of duplicates wins."""
        return next((child for child in reversed(self.children) if child.key == key), None)

    def data(self) -> Any:
        """Return the value in Python's types, numbers as `Number`."""
        if self.opener == "{":
            return {child.key: child.node.data() for child in self.children}
        return [child.node.data() for child in self.children] if self.opener == "[" else self.value


class Document(msgspec.Struct):
    """A parsed text.

    Attributes:
        text: the text.
        root: its value; None if there are only white space and comments.
        comments: all comments, in order.
        trailing_comma: position of the first trailing comma, or None.
    """

    text: str
    root: JsonNode | None = None
    comments: list[Comment] = []
    trailing_comma: int | None = None


def read(text: str) -> Document:
    """Parse a text.

    Raises:
        BrokenTextError: it is no JSON, even with comments and trailing commas.
    """
    reader = _JsoncReader(text)
    reader.skip()
    document = reader.document
    if reader.position < len(text):
        document.root = reader.value(0)
        reader.skip()
        if reader.position < len(text):
            raise reader.broken("nothing may follow the outermost value")
    return document


def check_plain(document: Document) -> None:
    """Refuse comments and trailing commas, for a client that does not accept them.

    Raises:
        BrokenTextError: the text has some.
    """
    extensions = [(comment.start, "comments are") for comment in document.comments[:1]]
    if document.trailing_comma is not None:
        extensions.append((document.trailing_comma, "a comma before a closing bracket is"))
    if extensions:
        position, subject = min(extensions)
        raise BrokenTextError(f"{subject} not allowed in this file", document.text, position)


class _JsoncReader:
    def __init__(self, text: str) -> None:
        self.document = Document(text)
        self.text = text
        self.position = 1 if text.startswith("\ufeff") else 0

    def broken(self, problem: str, position: int | None = None) -> BrokenTextError:
        return BrokenTextError(problem, self.text, self.position if position is None else position)

    def skip(self) -> None:
        """Skip white space and comments."""
        while True:
            self.position = _end(_SPACE, self.text, self.position)
            if not self.text.startswith(("//", "/*"), self.position):
                return
            start, to_line_end = self.position, self.text[self.position + 1] == "/"
            if to_line_end:
                newline = re.compile(r"[\r\n]").search(self.text, start)
                self.position = newline.start() if newline else len(self.text)
            elif (closing := self.text.find("*/", start + 2)) >= 0:
                self.position = closing + 2
            else:
                raise self.broken("this comment does not end")
            self.document.comments.append(Comment(start, self.position, to_line_end))

    def value(self, depth: int) -> JsonNode:
        first = self.text[self.position : self.position + 1]
        if first and first in "{[":
            if depth >= _MAX_DEPTH:
                raise self.broken(f"more than {_MAX_DEPTH} values lie within each other")
            return self._container(first, depth)
        node = JsonNode(self.position)
        if first == '"':
            node.value = self._string()
        elif first and first in "-0123456789" and (number := _NUMBER.match(self.text, self.position)):
            node.value = Number(number[0])
            self.position = number.end()
        else:
            node.value = self._literal()
        node.end = self.position
        return node

    def _string(self) -> str:
        try:
            text, self.position = _string(self.text, self.position + 1, True)
        except decoder.JSONDecodeError as error:
            raise self.broken(f"in this string: {error.msg.removesuffix(' at')}", error.pos) from None
        return text

    def _literal(self) -> bool | None:
        literal = _LITERAL.match(self.text, self.position)
        if literal is None:
            raise self.broken(
                "a value is missing here" if self.position < len(self.text) else "the file ends too early"
            )
        if literal[0] not in _LITERALS:
            raise self.broken(f"{_short(literal[0])} is no value in JSON")
        self.position = literal.end()
        return _LITERALS[literal[0]]

    def _container(self, opener: str, depth: int) -> JsonNode:
        node, closer = JsonNode(self.position, opener=opener, children=[]), {"{": "}", "[": "]"}[opener]
        self.position += 1
        for child in self._children(closer, depth):
            node.children.append(child)
        self.position += 1
        node.end = self.position
        return node

    def _children(self, closer: str, depth: int) -> Iterator[Child]:
        comma: int | None = None
        has_comma = True
        while True:
            self.skip()
            if self.text.startswith(closer, self.position):
                if comma is not None and self.document.trailing_comma is None:
                    self.document.trailing_comma = comma
                return
            if self.position == len(self.text):
                raise self.broken(f"the file ends before {closer!r}")
            if not has_comma:
                raise self.broken(f"a comma or {closer!r} is missing here")
            start = self.position
            key = self._key() if closer == "}" else None
            child = Child(start, self.value(depth + 1), key)
            self.skip()
            has_comma = self.text.startswith(",", self.position)
            comma = child.comma = self.position if has_comma else None
            self.position += has_comma
            yield child

    def _key(self) -> str:
        if not self.text.startswith('"', self.position):
            raise self.broken("a key in double quotes is missing here")
        key = self._string()
        self.skip()
        if not self.text.startswith(":", self.position):
            raise self.broken(f"a colon is missing after the key {_short(key)}")
        self.position += 1
        self.skip()
        return key


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return position if match is None else match.end()


def _short(text: str) -> str:
    """Return a word of a file for an error message, cut, because it may be long or a secret."""
    return repr(text if len(text) <= 20 else text[:17] + "…")
