"""Put an entry into a mapping of a YAML file or take it out, line by line; `json_edit.py` does the same for JSON.

The parser of pyyaml gives the positions, and only the lines of the entry are written. A round trip through
ruamel.yaml is not used: it writes the whole file again, so `null`, quotes, indentation and folded lines of others
change, and it attaches a comment to the key before it, so removing our entry deletes the comment of the next one.

Easy to get wrong: the variety of YAML, such as aliases, mappings in braces and several documents. A file that is
not written in plain lines, as Goose writes it, is refused.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from enfilade.client_config import BrokenTextError, ClientFileError

if TYPE_CHECKING:
    from yaml import MappingNode, Node

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NOT_PLAIN: Final = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_NULL: Final = "tag:yaml.org,2002:null"
_INDENT: Final = "  "
_UNSUPPORTED: Final = "is written in a way that is not edited here; put the entry in by hand"

Pair = tuple["Node", "Node"]


def find(text: str, path: Sequence[str]) -> Any:
    """Return the value under two keys in Python's types; None if there is none.

    Raises:
        BrokenTextError: the text is no YAML, or its mappings on the path are not written in plain lines.
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
        [] if outer is None or isinstance(outer[1].value, str) else [str(key.value) for key, _ in outer[1].value]
    )


def put(text: str, path: Sequence[str], value: dict[str, Any]) -> str:
    """Return a text with an entry under two keys; it replaces an existing entry, or is added as the last one.

    Raises:
        BrokenTextError, ClientFileError: as `find`.
    """
    outer, inner = _pairs(text, path)
    root = _root(text)
    if inner is not None:
        colon = _colon(text, inner)
        indent = " " * inner[0].start_mark.column
        return text[:colon] + _lines(text, value, indent + _INDENT) + text[_end(text, inner) :]
    if outer is None:
        indent = "" if root is None else " " * root.value[0][0].start_mark.column
        position = len(text.rstrip()) if root is None else _end(text, root.value[-1])
        new = f"{indent}{_key(path[0])}:" + _entry(text, path[1], value, indent + _INDENT)
        position = _line_end(text, position)
        if not position:
            return new + (text or "\n")
        return text[:position] + _newline(text) + new + text[position:]
    position = _line_end(text, _end(text, outer))
    if outer[1].value and not isinstance(outer[1].value, str):
        indent = " " * outer[1].value[0][0].start_mark.column
        return text[:position] + _entry(text, path[1], value, indent) + text[position:]
    colon, end = _colon(text, outer), outer[1].end_mark.index
    indent = " " * outer[0].start_mark.column + _INDENT
    entry = _entry(text, path[1], value, indent)
    return text[:colon] + text[max(colon, end) : position] + entry + text[position:]


def drop(text: str, path: Sequence[str]) -> str:
    """Return a text without the entry under two keys; the same text if there is none.

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
        colon, is_last = _colon(text, outer), len(outer[1].value) == 1
        text = text[:start] + text[end:]
        if is_last:
            text = text[:colon] + " {}" + text[colon:]
    return text


def meaning(text: str, path: Sequence[str]) -> Any:
    """Return the content of a text without the entry under two keys, in a form that can be compared."""

    def comparable(node: "Node", path: Sequence[str]) -> Any:
        if isinstance(node.value, str):
            return node.tag, "" if path and node.tag == _NULL else node.value
        if node.id == "sequence":
            return node.tag, [comparable(item, ()) for item in node.value]
        pairs = []
        for key, value in node.value:
            if path and key.value == path[0]:
                if len(path) > 1 and (inner := comparable(value, path[1:]))[1]:
                    pairs.append((key.value, inner))
            else:
                pairs.append((comparable(key, ()), comparable(value, ())))
        return node.tag, pairs

    root = _root(text)
    return ("tag:yaml.org,2002:map", []) if root is None else comparable(root, path)


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
        raise BrokenTextError(f"the file {_UNSUPPORTED}", text, root.start_mark.index)
    return root


def _pairs(text: str, path: Sequence[str]) -> list["Pair | None"]:
    """Return the key-value pairs of two keys, the second within the first; None for a missing one."""
    outer = _pair(_root(text), path[0])
    if outer is None:
        return [None, None]
    key, value = outer
    if value.start_mark.index < key.end_mark.index or (value.id != "mapping" and value.tag != _NULL):
        raise BrokenTextError(f"{path[0]!r} {_UNSUPPORTED}", text, key.start_mark.index)
    if value.id != "mapping":
        return [outer, None]
    if value.flow_style and value.value:
        raise BrokenTextError(f"{path[0]!r} {_UNSUPPORTED}", text, value.start_mark.index)
    inner = _pair(value, path[1])
    if inner is not None and inner[1].start_mark.index < inner[0].end_mark.index:
        raise BrokenTextError(f"{path[1]!r} {_UNSUPPORTED}", text, inner[0].start_mark.index)
    return [outer, inner]


def _pair(node: "Node | None", name: str) -> "Pair | None":
    pairs: list[Pair] = [] if node is None else node.value
    return next((pair for pair in reversed(pairs) if pair[0].value == name), None)


def _data(node: "Node") -> Any:
    yaml = _yaml()
    constructor = yaml.constructor.SafeConstructor()
    return constructor.construct_document(node)


def _colon(text: str, pair: "Pair") -> int:
    """Return the position after the colon of a key."""
    return text.index(":", pair[0].end_mark.index) + 1


def _end(text: str, pair: "Pair") -> int:
    """Return the end of a pair's last character; the end mark of a mapping is behind the comments after it."""
    key, node = pair
    while not isinstance(node.value, str) and not node.flow_style and node.value:
        last = node.value[-1]
        key, node = last if isinstance(last, tuple) else (last, last)
    end: int = max(node.end_mark.index, key.end_mark.index)
    if node is not key and end == key.end_mark.index:
        end = text.index(":", end) + 1
    return len(text[:end].rstrip())


def _line_end(text: str, position: int) -> int:
    line = re.compile(r"[^\r\n]*").match(text, position)
    return position if line is None else line.end()


def _newline(text: str) -> str:
    newline = re.search(r"\r\n|\n", text)
    return newline[0] if newline else "\n"


def _key(name: str) -> str:
    return (
        name
        if _PLAIN.fullmatch(name) and name.lower() not in _NOT_PLAIN
        else json.dumps(name, ensure_ascii=False)
    )


def _entry(text: str, name: str, value: dict[str, Any], indent: str) -> str:
    return f"{_newline(text)}{indent}{_key(name)}:{_lines(text, value, indent + _INDENT)}"


def _lines(text: str, value: dict[str, Any], indent: str) -> str:
    """Return the members of an entry, one per line; the values are written as JSON, which is valid YAML."""

    def lines() -> Iterator[str]:
        for key, item in value.items():
            yield f"{_newline(text)}{indent}{_key(key)}: {json.dumps(item, ensure_ascii=False)}"

    return "".join(lines())
