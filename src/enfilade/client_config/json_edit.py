"""One entry put into a text of JSON, or taken out of it; every other byte stays.

An edit is a list of cuts, each with what stands in its place. New text takes its newlines and its indentation
from what is around it, and a text on one line stays on one line. The easy thing to get wrong are commas and
comments: a comma may be needed before a comment at the end of a line, and what was behind `//` must stay alone
behind it.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from enfilade.client_config.errors import BrokenTextError
from enfilade.client_config.jsonc import Child, Document, Node, read

_UNIT: Final = "  "
_NEWLINE: Final = re.compile(r"\r\n|\n|\r")
_BLANK: Final = " \t\r\n"

_NOTHING: Final[tuple[str, list[Any], Any]] = ("{", [], None)  # what an empty object means, as `meaning` has it

Cut = tuple[int, int, str]


def find(text: str, path: Sequence[str]) -> Any:
    """Return what stands in a text under a path of keys, in Python's types; None if nothing does.

    Raises:
        BrokenTextError: it is no JSON, or something on the way is no object.
    """
    child = _walk(read(text), path)[-1]
    return None if child is None else child.node.data()


def names(text: str, key: str) -> list[str]:
    """Return the keys of the object under a key, in order.

    Raises:
        BrokenTextError: as `find`.
    """
    child = _walk(read(text), [key, ""])[0]
    return [] if child is None else [str(each.key) for each in child.node.children]


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Return a text with a value under a path of keys: in the place of what is there, or else as the last member.

    A null on the way counts as nothing, and is replaced.

    Raises:
        BrokenTextError: as `find`.
    """
    document = read(text)
    layout = _Layout(document)
    if document.root is None:
        return layout.whole(_nested(path, value))
    parent = node = document.root
    for depth, child in enumerate(_walk(document, path)):
        key, rest = path[depth], path[depth + 1 :]
        if node.is_null:
            rendered = layout.rendered(_nested(path[depth:], value), node.start, inline=layout.is_inline(parent))
            return _applied(text, [(node.start, node.end, rendered)])
        if child is None:
            return _applied(text, layout.insertion(node, f"{json.dumps(key)}: ", _nested(rest, value)))
        if not rest:
            rendered = layout.rendered(value, child.start, inline=layout.is_inline(node))
            return _applied(text, [(child.node.start, child.node.end, rendered)])
        parent, node = node, child.node
    raise AssertionError("a path has at least one key")


def drop(text: str, path: Sequence[str]) -> str:
    """Return a text without what stands under a path of keys, however often it does; the same if nothing does.

    Raises:
        BrokenTextError: as `find`.
    """
    while True:
        document = read(text)
        steps = _walk(document, path)
        if len(steps) < len(path) or steps[-1] is None or document.root is None:
            return text
        above = steps[-2] if len(steps) > 1 else None
        text = _applied(text, _removal(document, above.node if above else document.root, steps[-1]))


def put_item(text: str, key: str, item: dict[str, Any], same: str) -> str:
    """Return a text with an item in the array under a key, unless one with the same member `same` is there.

    Raises:
        BrokenTextError: as `find`; or there is something else than an array.
    """
    array = _array(text, key)
    if array is None:
        return put(text, [key], [item])
    if any(_says(child, same) == item[same] for child in array.children):
        return text
    return _applied(text, _Layout(read(text)).insertion(array, "", item))


def drop_item(text: str, key: str, same: str, value: str) -> str:
    """Return a text without the items of the array under a key whose member `same` has a value.

    Raises:
        BrokenTextError: as `put_item`.
    """
    while (array := _array(text, key)) is not None:
        found = next((child for child in array.children if _says(child, same) == value), None)
        if found is None:
            break
        text = _applied(text, _removal(read(text), array, found))
    return text


def _says(child: Child, same: str) -> Any:
    member = child.node.member(same)
    return None if member is None else member.node.value


def _array(text: str, key: str) -> Node | None:
    child = _walk(read(text), [key])[-1]
    if child is None or child.node.is_null:
        return None
    if child.node.opener != "[":
        raise BrokenTextError(f"{key!r} should be an array here", text, child.node.start)
    return child.node


def _walk(document: Document, path: Sequence[str]) -> list[Child | None]:
    """Return the members along a path, up to the first that is missing, as None. A null has no members."""
    found: list[Child | None] = []
    node, name = document.root, "the file"
    for key in path:
        if node is not None and node.opener != "{" and not node.is_null:
            raise BrokenTextError(f"{name} should be an object here", document.text, node.start)
        child = None if node is None else node.member(key)
        found.append(child)
        if child is None:
            break
        node, name = child.node, repr(key)
    return found


def _nested(path: Sequence[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _applied(text: str, cuts: Iterable[Cut]) -> str:
    in_order = sorted(cuts, key=lambda cut: cut[0])  # those at one place in the order given
    for start, end, instead in reversed(in_order):
        text = text[:start] + instead + text[end:]
    return text


class _Layout:
    """How a text is laid out, and how what is new in it should be."""

    def __init__(self, document: Document) -> None:
        self.text = document.text
        self.root = document.root
        found = _NEWLINE.search(self.text)
        self.newline = found[0] if found else "\n"
        self.unit = self._unit()

    def _unit(self) -> str:
        for child in self.root.children if self.root is not None else ():
            if self.begins_line(child.start):
                return self.indent(child.start)[len(self.indent(self.root.start)) :] if self.root else _UNIT
        return _UNIT

    def indent(self, position: int) -> str:
        """Return the white space with which the line of a position begins."""
        line = re.split(r"[\r\n]", self.text[:position].removeprefix("\ufeff"))[-1]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def begins_line(self, position: int) -> bool:
        """Whether nothing but white space stands before a position in its line, and it is not the first line."""
        before = self.text[:position].rstrip(" \t")
        return before.endswith(("\n", "\r"))

    def is_inline(self, node: Node) -> bool:
        """Whether what is put into a container should not open a new line."""
        around = node if node.children or self.root is None else self.root
        return bool(around.children) and not _NEWLINE.search(self.text, around.start, around.end)

    def rendered(self, value: Any, position: int, *, inline: bool = False, indent: str | None = None) -> str:
        """Return a value as text that goes to a position."""
        if inline:
            return json.dumps(value, ensure_ascii=False)
        lines = json.dumps(value, ensure_ascii=False, indent=self.unit).split("\n")
        return (self.newline + (self.indent(position) if indent is None else indent)).join(lines)

    def whole(self, value: Any) -> str:
        """Return the text, in which there is no value yet, with one."""
        before = self.text if not self.text.strip(_BLANK + "\ufeff") or self.text.endswith(("\n", "\r")) else ""
        before = before or (self.text + self.newline if self.text else "")
        return before + self.rendered(value, 0, indent="") + self.newline

    def insertion(self, node: Node, key: str, value: Any) -> list[Cut]:
        """Return the cuts that make a value the last child of a container."""
        inline = self.is_inline(node)
        if not node.children:
            return self._into_empty(node, key, value, inline)
        last = node.children[-1]
        cuts = [(last.node.end, last.node.end, ",")] if last.comma is None else []
        place = self._past_line(last.node.end if last.comma is None else last.comma + 1)
        indent = self.indent(last.start) if self.begins_line(last.start) else self.indent(node.start) + self.unit
        lead = " " if inline else self.newline + indent
        new = key + self.rendered(value, place, inline=inline, indent=indent)
        return [*cuts, (place, place, lead + new + ("," if last.comma is not None else ""))]

    def _into_empty(self, node: Node, key: str, value: Any, inline: bool) -> list[Cut]:
        inside = self.text[node.start + 1 : node.end - 1]
        if inline and not inside.strip(_BLANK):
            return [(node.start + 1, node.end - 1, key + self.rendered(value, node.start, inline=True))]
        outer = self.indent(node.start)
        new = self.newline + outer + self.unit + key + self.rendered(value, 0, indent=outer + self.unit)
        place = node.start + 1 + len(inside.rstrip(_BLANK))
        rest = self.text[place : node.end - 1]
        closing = rest if _NEWLINE.search(rest) and place > node.start + 1 else self.newline + outer
        return [(place, node.end - 1, new + closing)]

    def _past_line(self, position: int) -> int:
        """Return the end of what is only commented upon in the line from a position on."""
        rest = re.compile(r"(?:[ \t]*/\*(?:(?!\*/)[^\r\n])*\*/)*(?:[ \t]*//[^\r\n]*)?").match(self.text, position)
        return position if rest is None else rest.end()


def _removal(document: Document, node: Node, child: Child) -> list[Cut]:
    """Return the cuts that take a child out of its container."""
    text, index = document.text, node.children.index(child)
    floor = max((each.end for each in document.comments if each.end <= child.start), default=0)
    start = max(
        floor, len(text[: child.start].rstrip(_BLANK))
    )  # white space that ends a comment is the comment's
    left = (
        text[child.node.end :]
        if child.comma is None
        else text[child.node.end : child.comma] + text[child.comma + 1 :]
    )
    behind = any(each.to_line_end and each.end == start for each in document.comments)
    if behind and not re.match(r"[ \t]*[\r\n]", left):  # what follows must not join the comment
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
    """Return what a text says, but for our entry, in a form that can be compared: every member, in order.

    Args:
        text: the text.
        path: the keys of our entry; what holds nothing else counts as nothing.
        ids: the items of the array `inputs` that are ours, by their `id`.
    """

    def plain(node: Node, path: Sequence[str], top: bool = False) -> Any:
        pairs: list[Any] = []
        for child in node.children:
            if path and child.key == path[0]:
                if len(path) > 1 and (inner := plain(child.node, path[1:])) != _NOTHING:
                    pairs.append((child.key, inner))
            elif top and child.key == "inputs" and ids:
                items = [plain(item.node, ()) for item in child.node.children if _says(item, "id") not in ids]
                pairs += [(child.key, items)] if items else []
            else:
                pairs.append((child.key, plain(child.node, ())))
        return _NOTHING if path and node.is_null else (node.opener, pairs, node.value)

    root = read(text).root
    return _NOTHING if root is None else plain(root, path, top=True)
