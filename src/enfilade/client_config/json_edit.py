"""Put an entry into a text of JSON or take it out; every other byte stays.

An edit is a list of cuts: spans of the text, each with its replacement. New text gets the newlines and the
indentation of the text around it, and a text on one line stays on one line.

Easy to get wrong: commas and comments. A comma may be needed before a comment at the end of a line, and no member
may follow `//` in its line.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from enfilade.client_config import BrokenTextError
from enfilade.client_config.jsonc import Child, Document, JsonNode, read

_INDENT: Final = "  "
_INPUTS: Final = "inputs"  # the array of a client that asks for the values of variables
_NEWLINE: Final = re.compile(r"\r\n|\n|\r")
_COMMENTS: Final = re.compile(r"(?:[ \t]*/\*(?:(?!\*/)[^\r\n])*\*/)*(?:[ \t]*//[^\r\n]*)?")
_BLANK: Final = " \t\r\n"

#: An empty object in the form of `meaning`.
_EMPTY: Final[tuple[str, list[Any], Any]] = ("{", [], None)

#: Start and end of a span, and its replacement.
Cut = tuple[int, int, str]


def find(text: str, path: Sequence[str]) -> Any:
    """Return the value under a path of keys in Python's types; None if there is none.

    Raises:
        BrokenTextError: the text is no JSON, or a value on the path is no object.
    """
    child = _walk(read(text), path)[-1]
    return None if child is None else child.node.data()


def names(text: str, key: str) -> list[str]:
    """Return the keys of the object under a key, in order.

    Raises:
        BrokenTextError: as `find`.
    """
    child = _walk(read(text), [key, ""])[0]
    return [] if child is None else [str(member.key) for member in child.node.children]


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Return a text with a value under a path of keys; it replaces an existing value, or is the last member.

    A null on the path is replaced by an object.

    Raises:
        BrokenTextError: as `find`.
    """
    document = read(text)
    layout = _Layout(document)
    if document.root is None:
        return layout.as_root(_nested(path, value))
    parent = node = document.root
    for depth, child in enumerate(_walk(document, path)):
        key, remaining = path[depth], path[depth + 1 :]
        if node.is_null:
            rendered = layout.rendered(_nested(path[depth:], value), node.start, inline=layout.is_inline(parent))
            return _applied(text, [(node.start, node.end, rendered)])
        if child is None:
            return _applied(text, layout.insertion(node, f"{json.dumps(key)}: ", _nested(remaining, value)))
        if not remaining:
            rendered = layout.rendered(value, child.start, inline=layout.is_inline(node))
            return _applied(text, [(child.node.start, child.node.end, rendered)])
        parent, node = node, child.node
    raise AssertionError("a path has at least one key")


def drop(text: str, path: Sequence[str]) -> str:
    """Return a text without the members under a path of keys, including duplicates; the same if there are none.

    Raises:
        BrokenTextError: as `find`.
    """
    while True:
        document = read(text)
        steps = _walk(document, path)
        if len(steps) < len(path) or steps[-1] is None or document.root is None:
            return text
        parent = steps[-2] if len(steps) > 1 else None
        text = _applied(text, _removal(document, parent.node if parent else document.root, steps[-1]))


def put_input(text: str, item: dict[str, Any]) -> str:
    """Return a text with an item in the array `inputs`, unless one with the same `id` exists.

    Raises:
        BrokenTextError: as `find`; or the value is no array.
    """
    array = _inputs(text)
    if array is None:
        return put(text, [_INPUTS], [item])
    if any(_id(child) == item["id"] for child in array.children):
        return text
    return _applied(text, _Layout(read(text)).insertion(array, "", item))


def drop_input(text: str, id: str) -> str:
    """Return a text without the items of the array `inputs` with an `id`.

    Raises:
        BrokenTextError: as `put_input`.
    """
    while (array := _inputs(text)) is not None:
        item = next((child for child in array.children if _id(child) == id), None)
        if item is None:
            break
        text = _applied(text, _removal(read(text), array, item))
    return text


def _id(child: Child) -> Any:
    member = child.node.member("id")
    return None if member is None else member.node.value


def _inputs(text: str) -> JsonNode | None:
    child = _walk(read(text), [_INPUTS])[-1]
    if child is None or child.node.is_null:
        return None
    if child.node.opener != "[":
        raise BrokenTextError(f"{_INPUTS!r} should be an array here", text, child.node.start)
    return child.node


def _walk(document: Document, path: Sequence[str]) -> list[Child | None]:
    """Return the members along a path; the first missing one is None and ends it. A null has no members."""
    members: list[Child | None] = []
    node, name = document.root, "the file"
    for key in path:
        if node is not None and node.opener != "{" and not node.is_null:
            raise BrokenTextError(f"{name} should be an object here", document.text, node.start)
        child = None if node is None else node.member(key)
        members.append(child)
        if child is None:
            break
        node, name = child.node, repr(key)
    return members


def _nested(path: Sequence[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _applied(text: str, cuts: Iterable[Cut]) -> str:
    in_order = sorted(cuts, key=lambda cut: cut[0])  # stable: cuts at one position keep their order
    for start, end, replacement in reversed(in_order):
        text = text[:start] + replacement + text[end:]
    return text


class _Layout:
    """The layout of a text, which new text follows."""

    def __init__(self, document: Document) -> None:
        self.text = document.text
        self.root = document.root
        newline = _NEWLINE.search(self.text)
        self.newline = newline[0] if newline else "\n"
        self.unit = self._unit()

    def _unit(self) -> str:
        for child in self.root.children if self.root is not None else ():
            if self.begins_line(child.start):
                return self.indent(child.start)[len(self.indent(self.root.start)) :] if self.root else _INDENT
        return _INDENT

    def indent(self, position: int) -> str:
        """Return the white space at the start of the line of a position."""
        line = re.split(r"[\r\n]", self.text[:position].removeprefix("\ufeff"))[-1]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def begins_line(self, position: int) -> bool:
        """Return whether only white space precedes a position in its line, which is not the first line."""
        return self.text[:position].rstrip(" \t").endswith(("\n", "\r"))

    def is_inline(self, node: JsonNode) -> bool:
        """Return whether a new child of a container stays on the line, as the existing ones do."""
        model = node if node.children or self.root is None else self.root
        return bool(model.children) and not _NEWLINE.search(self.text, model.start, model.end)

    def rendered(self, value: Any, position: int, *, inline: bool = False, indent: str | None = None) -> str:
        """Return a value as text for a position."""
        if inline:
            return json.dumps(value, ensure_ascii=False)
        lines = json.dumps(value, ensure_ascii=False, indent=self.unit).split("\n")
        return (self.newline + (self.indent(position) if indent is None else indent)).join(lines)

    def as_root(self, value: Any) -> str:
        """Return the text, which has only white space and comments, with a root value."""
        is_blank = not self.text.strip(_BLANK + "\ufeff")
        separator = "" if is_blank or self.text.endswith(("\n", "\r")) else self.newline
        return self.text + separator + self.rendered(value, 0, indent="") + self.newline

    def insertion(self, node: JsonNode, key: str, value: Any) -> list[Cut]:
        """Return the cuts that make a value the last child of a container."""
        inline = self.is_inline(node)
        if not node.children:
            return self._into_empty(node, key, value, inline)
        last = node.children[-1]
        cuts = [(last.node.end, last.node.end, ",")] if last.comma is None else []
        position = self._past_comments(last.node.end if last.comma is None else last.comma + 1)
        indent = self.indent(last.start) if self.begins_line(last.start) else self.indent(node.start) + self.unit
        lead = " " if inline else self.newline + indent
        new = key + self.rendered(value, position, inline=inline, indent=indent)
        return [*cuts, (position, position, lead + new + ("," if last.comma is not None else ""))]

    def _into_empty(self, node: JsonNode, key: str, value: Any, inline: bool) -> list[Cut]:
        inside = self.text[node.start + 1 : node.end - 1]
        if inline and not inside.strip(_BLANK):
            return [(node.start + 1, node.end - 1, key + self.rendered(value, node.start, inline=True))]
        outer = self.indent(node.start)
        new = self.newline + outer + self.unit + key + self.rendered(value, 0, indent=outer + self.unit)
        position = node.start + 1 + len(inside.rstrip(_BLANK))
        blank = self.text[position : node.end - 1]
        closing = blank if _NEWLINE.search(blank) and position > node.start + 1 else self.newline + outer
        return [(position, node.end - 1, new + closing)]

    def _past_comments(self, position: int) -> int:
        """Return the end of the comments that follow a position in its line."""
        comments = _COMMENTS.match(self.text, position)
        return position if comments is None else comments.end()


def _removal(document: Document, node: JsonNode, child: Child) -> list[Cut]:
    """Return the cuts that remove a child from its container."""
    text, index = document.text, node.children.index(child)
    comment_end = max((comment.end for comment in document.comments if comment.end <= child.start), default=0)
    # White space at the end of a comment belongs to the comment.
    start = max(comment_end, len(text[: child.start].rstrip(_BLANK)))
    remaining = (
        text[child.node.end :]
        if child.comma is None
        else text[child.node.end : child.comma] + text[child.comma + 1 :]
    )
    after_comment = any(comment.to_line_end and comment.end == start for comment in document.comments)
    if after_comment and not re.match(r"[ \t]*[\r\n]", remaining):  # the text behind must not join the comment
        newline = _NEWLINE.match(text, start)
        start = newline.end() if newline else child.start
    cuts = [(start, child.node.end, "")]
    if child.comma is not None:
        cuts.append((child.comma, child.comma + 1, ""))
    elif index and (comma := node.children[index - 1].comma) is not None:
        cuts.append((comma, comma + 1, ""))
    if len(node.children) == 1 and not _applied(text[: node.end - 1], cuts)[node.start + 1 :].strip(_BLANK):
        return [(node.start + 1, node.end - 1, "")]
    return cuts


def meaning(text: str, path: Sequence[str], ids: Sequence[str] = ()) -> Any:
    """Return the content of a text without our entry, in a form that can be compared: all members, in order.

    Args:
        text: the text.
        path: the keys of our entry; an object that holds nothing else counts as absent.
        ids: the `id`s of our items in the array `inputs`.
    """

    def comparable(node: JsonNode, path: Sequence[str], is_root: bool = False) -> Any:
        pairs: list[Any] = []
        for child in node.children:
            if path and child.key == path[0]:
                if len(path) > 1 and (inner := comparable(child.node, path[1:])) != _EMPTY:
                    pairs.append((child.key, inner))
            elif is_root and child.key == _INPUTS and ids:
                items = [comparable(item.node, ()) for item in child.node.children if _id(item) not in ids]
                pairs += [(child.key, items)] if items else []
            else:
                pairs.append((child.key, comparable(child.node, ())))
        return _EMPTY if path and node.is_null else (node.opener, pairs, node.value)

    root = read(text).root
    return _EMPTY if root is None else comparable(root, path, is_root=True)
