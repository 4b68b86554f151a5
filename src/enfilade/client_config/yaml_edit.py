"""The same as `splice` for YAML: one entry put into a mapping or taken out of it, line by line.

pyyaml says where everything stands; it writes nothing, as what it writes has lost comments and order of the rest.
The easy thing to get wrong is YAML's freedom: aliases, mappings in braces, several documents. What is not written
in plain lines, as Goose itself does, is refused rather than guessed at.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from enfilade.client_config.errors import BrokenTextError, ClientFileError

if TYPE_CHECKING:
    from yaml import MappingNode, Node

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NOT_PLAIN: Final = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_NULL: Final = "tag:yaml.org,2002:null"
_UNIT: Final = "  "
_ELSEWHERE: Final = "is written in a way that is not edited here; put the entry in by hand"

Pair = tuple["Node", "Node"]


def find(text: str, path: Sequence[str]) -> Any:
    """Return what stands in a text under two keys, in Python's types; None if nothing does.

    Raises:
        BrokenTextError: it is no YAML, or not written in plain lines on the way there.
        ClientFileError: pyyaml is not installed.
    """
    pair = _pairs(text, path)[-1]
    return None if pair is None else _data(pair[1])


def names(text: str, key: str) -> list[str]:
    """Return the keys of the mapping under a key, in order.

    Raises:
        BrokenTextError, ClientFileError: as `find`.
    """
    outer = _pairs(text, [key, ""])[0]
    return (
        []
        if outer is None or isinstance(outer[1].value, str)
        else [str(each.value) for each, _ in outer[1].value]
    )


def put(text: str, path: Sequence[str], value: dict[str, Any]) -> str:
    """Return a text with an entry under two keys: in the place of what is there, or else as the last one.

    Raises:
        BrokenTextError, ClientFileError: as `find`.
    """
    outer, inner = _pairs(text, path)
    root = _root(text)
    if inner is not None:
        colon = _colon(text, inner)
        indent = " " * inner[0].start_mark.column
        return text[:colon] + _lines(text, value, indent + _UNIT) + text[_end(text, inner) :]
    if outer is None:
        indent = "" if root is None else " " * root.value[0][0].start_mark.column
        place = len(text.rstrip()) if root is None else _end(text, root.value[-1])
        new = f"{indent}{_key(path[0])}:" + _entry(text, path[1], value, indent + _UNIT)
        place = _line_end(text, place)
        return text[:place] + ((_newline(text) + new + text[place:]) if place else new + (text or "\n"))
    place = _line_end(text, _end(text, outer))
    if outer[1].value and not isinstance(outer[1].value, str):
        indent = " " * outer[1].value[0][0].start_mark.column
        return text[:place] + _entry(text, path[1], value, indent) + text[place:]
    colon, end = _colon(text, outer), outer[1].end_mark.index
    indent = " " * outer[0].start_mark.column + _UNIT
    return text[:colon] + text[max(colon, end) : place] + _entry(text, path[1], value, indent) + text[place:]


def drop(text: str, path: Sequence[str]) -> str:
    """Return a text without what stands under two keys; the same if nothing does.

    Raises:
        BrokenTextError, ClientFileError: as `find`.
    """
    while (pairs := _pairs(text, path))[-1] is not None:
        outer, inner = pairs
        assert outer is not None
        assert inner is not None
        start = text.rfind("\n", 0, inner[0].start_mark.index) + 1
        end = _line_end(text, _end(text, inner))
        if end < len(text):
            end += len(_newline(text))
        else:
            start = len(text[:start].rstrip("\r\n"))
        rest = text[:start] + text[end:]
        colon = _colon(text, outer)
        text = rest if len(outer[1].value) > 1 else rest[:colon] + " {}" + rest[colon:]
    return text


def meaning(text: str, path: Sequence[str]) -> Any:
    """Return what a text says, but for what stands under two keys, in a form that can be compared."""

    def plain(node: "Node", path: Sequence[str]) -> Any:
        if isinstance(node.value, str):
            return node.tag, "" if path and node.tag == _NULL else node.value
        if node.id == "sequence":
            return node.tag, [plain(item, ()) for item in node.value]
        pairs = []
        for key, value in node.value:
            if path and key.value == path[0]:
                if len(path) > 1 and (inner := plain(value, path[1:]))[1]:
                    pairs.append((key.value, inner))
            else:
                pairs.append((plain(key, ()), plain(value, ())))
        return node.tag, pairs

    root = _root(text)
    return ("tag:yaml.org,2002:map", []) if root is None else plain(root, path)


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise ClientFileError('this needs more packages: pip install "enfilade[dev]"') from None
    return yaml


def _root(text: str) -> "MappingNode | None":
    yaml = _yaml()
    try:
        root: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BrokenTextError(error.problem or "this is no YAML", text, mark.index if mark else 0) from None
    except yaml.YAMLError as error:
        raise BrokenTextError("this is no YAML", text, getattr(error, "position", 0)) from None
    except RecursionError:
        raise BrokenTextError("too many values lie within each other", text, 0) from None
    if root is None or (root.id == "scalar" and not root.value):
        return None
    if root.id != "mapping" or root.flow_style:
        raise BrokenTextError(f"the file {_ELSEWHERE}", text, root.start_mark.index)
    return root


def _pairs(text: str, path: Sequence[str]) -> list["Pair | None"]:
    """Return the pairs of two keys, the second within the first; None for what is missing."""
    outer = _pair(_root(text), path[0])
    if outer is None:
        return [None, None]
    key, value = outer
    if value.start_mark.index < key.end_mark.index or (value.id != "mapping" and value.tag != _NULL):
        raise BrokenTextError(f"{path[0]!r} {_ELSEWHERE}", text, key.start_mark.index)
    if value.id != "mapping":
        return [outer, None]
    if value.flow_style and value.value:
        raise BrokenTextError(f"{path[0]!r} {_ELSEWHERE}", text, value.start_mark.index)
    inner = _pair(value, path[1])
    if inner is not None and inner[1].start_mark.index < inner[0].end_mark.index:
        raise BrokenTextError(f"{path[1]!r} {_ELSEWHERE}", text, inner[0].start_mark.index)
    return [outer, inner]


def _pair(node: "Node | None", name: str) -> "Pair | None":
    pairs: list[Pair] = [] if node is None else node.value
    return next((pair for pair in reversed(pairs) if pair[0].value == name), None)


def _data(node: "Node") -> Any:
    yaml = _yaml()
    constructor = yaml.constructor.SafeConstructor()
    return constructor.construct_document(node)


def _colon(text: str, pair: "Pair") -> int:
    """Return where the text after a key's colon begins."""
    return text.index(":", pair[0].end_mark.index) + 1


def _end(text: str, pair: "Pair") -> int:
    """Return where the last character of a pair ends; a mapping's own mark is behind the comments that follow."""
    key, node = pair
    while not isinstance(node.value, str) and not node.flow_style and node.value:
        last = node.value[-1]
        key, node = last if isinstance(last, tuple) else (last, last)
    end: int = max(node.end_mark.index, key.end_mark.index)
    if node is not key and end == key.end_mark.index:
        end = text.index(":", end) + 1
    return len(text[:end].rstrip())


def _line_end(text: str, position: int) -> int:
    found = re.compile(r"[^\r\n]*").match(text, position)
    return position if found is None else found.end()


def _newline(text: str) -> str:
    found = re.search(r"\r\n|\n", text)
    return found[0] if found else "\n"


def _key(name: str) -> str:
    return (
        name
        if _PLAIN.fullmatch(name) and name.lower() not in _NOT_PLAIN
        else json.dumps(name, ensure_ascii=False)
    )


def _entry(text: str, name: str, value: dict[str, Any], indent: str) -> str:
    return f"{_newline(text)}{indent}{_key(name)}:{_lines(text, value, indent + _UNIT)}"


def _lines(text: str, value: dict[str, Any], indent: str) -> str:
    """Return the members of an entry, each on a line of its own; what is JSON is YAML as well."""

    def lines() -> Iterator[str]:
        for key, item in value.items():
            yield f"{_newline(text)}{indent}{_key(key)}: {json.dumps(item, ensure_ascii=False)}"

    return "".join(lines())
