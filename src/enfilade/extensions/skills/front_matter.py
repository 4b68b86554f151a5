"""The YAML front matter of a `SKILL.md`: read as the JSON that clients get of it, and written for skills in
code.

Hosts compare the front matter of an entry with that of the file (X-SKILL-3), which they read by the core schema
of YAML 1.2: a date or `yes` is text there. PyYAML resolves scalars by YAML 1.1, so only its parser is used, and
its events become values here. JSON is YAML, so what is written needs no library.

Easy to get wrong: small files that become large or deep values. An alias counts as much as what it stands for,
and is as deep. The parser gives one event after the other, so nothing is read beyond a bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    import yaml
else:
    yaml = LazyModule("yaml")

#: Largest front matter, in bytes, and most characters and values of it together once aliases are written out.
LONGEST: Final = 64 * 1024
_MOST: Final = 4 * LONGEST
#: Most collections within each other.
_DEEPEST: Final = 32
#: Integers that JSON parsers of other languages may take in whole.
_MOST_INTEGER: Final = 2**63

#: What a `SKILL.md` begins with; hosts look for the same.
_BLOCK: Final = re.compile(rb"(?:\xef\xbb\xbf)?---\r?\n(?P<yaml>.*?)\r?\n---[ \t]*(?P<end>\r?\n|\Z)", re.DOTALL)

_STR: Final = "tag:yaml.org,2002:str"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o(?P<octal>[0-7]+)|0x(?P<hex>[0-9a-fA-F]+)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?(?:\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")

#: What stands for itself in JSON, and not in YAML.
_TO_ESCAPE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class FrontMatterError(ValueError):
    """A front matter that cannot be served; the text says what to do."""


def read_front_matter(data: bytes) -> dict[str, Any]:
    """Return the front matter at the head of a file as JSON has it, verbatim.

    Args:
        data: the whole file.

    Raises:
        FrontMatterError: there is none, or it has no form in JSON.
        ModuleNotFoundError: there is no YAML parser.
    """
    try:
        data.decode()
    except UnicodeDecodeError:
        raise FrontMatterError("it is not UTF-8; save it as UTF-8") from None
    block = _BLOCK.match(data, 0, LONGEST)
    if block is None or (block["end"] == b"" and block.end() < len(data)):
        if data.removeprefix(b"\xef\xbb\xbf").startswith((b"---\n", b"---\r\n")):
            raise FrontMatterError(
                f"its front matter does not end within {LONGEST} bytes; end it with a line that is ---"
            )
        raise FrontMatterError(
            "it has no front matter; begin it with a line ---, then name: and description:, then a line ---"
        )
    value = _parsed(block["yaml"].decode() + "\n")  # a block scalar may end with it
    if not isinstance(value, dict):
        raise FrontMatterError("its front matter is no mapping; write name: and description:, each on a line")
    return value


def _parsed(text: str) -> Any:
    check_parser()
    values = _Values()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            values.take(event)
    except FrontMatterError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the parser takes any number as a character
        raise FrontMatterError(_described(error)) from None
    return values.result


def check_parser() -> None:
    """Check that there is a YAML parser.

    Raises:
        ModuleNotFoundError: there is none; the text says how to get it.
    """
    try:
        yaml.YAMLError  # noqa: B018 - imports it
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'folders of skills need a YAML parser: pip install "enfilade[skills]"', name="yaml"
        ) from None


def _described(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = (
        getattr(error, "problem", None)
        or getattr(error, "reason", None)
        or "an escape in it stands for no character"
    )
    line = "" if mark is None else f"line {mark.line + 2}: "
    advice = "; put a text that has a colon or # into quotes" if "mapping values" in problem else ""
    return f"{line}its front matter is no YAML: {problem}{advice}"


class _Open:
    """A collection whose end has not come yet.

    Attributes:
        weight: that of all that is in it.
        height: collections within each other, itself included.
        key: the key whose value comes next, in a mapping.
    """

    __slots__ = ("anchor", "height", "key", "value", "weight")

    def __init__(self, value: dict[str, Any] | list[Any], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.weight = 1
        self.height = 1
        self.key: str | None = None


class _Values:
    """Makes one value of the events of a parser.

    Attributes:
        result: the value; None before its end has come.
    """

    def __init__(self) -> None:
        self.result: Any = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}  # with weights and heights
        self._weight = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        """Take the next event.

        Raises:
            FrontMatterError: it has no form in JSON, or there is too much.
        """
        line = event.start_mark.line + 2  # the first one is in the line after ---
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._begin(event, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            ended = self._open.pop()
            self._add(ended.value, ended.weight, ended.height, ended.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise FrontMatterError(f"line {line}: its front matter has several documents; leave one")

    def _begin(self, event: Any, line: int) -> None:
        self._refuse_key(line)
        if event.tag not in (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise FrontMatterError(f"line {line}: the tag {event.tag!r} has no meaning in JSON; leave it out")
        self._check_levels(1, line)
        self._open.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor))
        self._count(1, line)

    def _alias(self, event: Any, line: int) -> None:
        self._refuse_key(line)
        if event.anchor not in self._anchors:
            raise FrontMatterError(f"line {line}: *{event.anchor} stands for nothing that has ended before")
        value, weight, height = self._anchors[event.anchor]
        self._count(weight, line)
        self._check_levels(height, line)
        self._add(value, weight, height, None)

    def _scalar(self, event: Any, line: int) -> None:
        event.value = _whole(event.value, line)
        self._count(1 + len(event.value), line)
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            if event.value in self._open[-1].value:
                raise FrontMatterError(f"line {line}: {event.value!r} is there twice; leave one of them out")
            self._open[-1].key = event.value
            return
        self._add(_scalar_value(event, line), 1 + len(event.value), 0, event.anchor)

    def _add(self, value: Any, weight: int, height: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = value, weight, height
        if not self._open:
            self.result = value
            return
        parent = self._open[-1]
        parent.weight += weight
        parent.height = max(parent.height, 1 + height)
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is not None:
            parent.value[parent.key], parent.key = value, None

    def _refuse_key(self, line: int) -> None:
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            raise FrontMatterError(f"line {line}: a key is a text in JSON, no collection and no alias")

    def _check_levels(self, more: int, line: int) -> None:
        if len(self._open) + more > _DEEPEST:
            raise FrontMatterError(f"line {line}: more than {_DEEPEST} levels; make it flatter")

    def _count(self, weight: int, line: int) -> None:
        self._weight += weight
        if self._weight > _MOST:
            raise FrontMatterError(f"line {line}: its front matter has too much in it, with its aliases")


def _whole(text: str, line: int) -> str:
    """Return a text with one character for each surrogate pair, as parsers in JavaScript read its escapes."""
    try:
        return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise FrontMatterError(
            f"line {line}: it has half a surrogate pair, which UTF-8 cannot hold; write the character itself"
        ) from None


def _scalar_value(event: Any, line: int) -> str | int | float | bool | None:
    """Return the value of a scalar by the core schema of YAML 1.2 (§10.3.2), as far as JSON has it."""
    text: str = event.value
    if event.tag not in (None, "!", _STR):
        raise FrontMatterError(f"line {line}: the tag {event.tag!r} has no meaning in JSON; leave it out")
    if event.tag is not None or event.style or not event.implicit[0]:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if (match := _INTEGER.fullmatch(text)) is not None and len(text) <= 32:
        digits, base = (
            (match["octal"], 8) if match["octal"] else (match["hex"] or text, 16 if match["hex"] else 10)
        )
        number = int(digits, base)
        if -_MOST_INTEGER <= number < _MOST_INTEGER:
            return number
    elif (match := _FLOAT.fullmatch(text)) is not None:
        value = float(text)
        if value - value == 0 and not _INTEGER.fullmatch(text):
            return value
    elif _NOT_FINITE.fullmatch(text) is None:
        return text
    raise FrontMatterError(f"line {line}: {text[:40]} is no number that JSON has; put it into quotes")


def write_front_matter(members: Mapping[str, Any]) -> str:
    """Return a front matter with its lines `---`; hosts read the same members from it.

    Args:
        members: as JSON has them.

    Raises:
        FrontMatterError: they have no form in JSON, or are too long.
    """
    lines = [f"{_key(key)}: {_json(value)}\n" for key, value in members.items()]
    text = "".join(("---\n", *lines, "---\n"))
    if len(text.encode()) > LONGEST:
        raise FrontMatterError(f"the front matter has more than {LONGEST} bytes")
    return text


def _key(key: str) -> str:
    return key if re.fullmatch(r"[a-z]+(?:-[a-z]+)*", key) and _is_text(key) else _json(key)


def _is_text(text: str) -> bool:
    return text not in _NULLS and text not in _BOOLEANS


def _json(value: Any) -> str:
    _check_integers(value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FrontMatterError(f"the front matter has no form in JSON: {error}") from None
    return _TO_ESCAPE.sub(lambda character: f"\\u{ord(character[0]):04x}", text)


def _check_integers(value: Any, depth: int = 0) -> None:
    """Refuse what would not be read again: numbers that are too large, and too many levels."""
    if isinstance(value, int) and not -_MOST_INTEGER <= value < _MOST_INTEGER:
        raise FrontMatterError("the front matter has a number that is too large; make it a text")
    if isinstance(value, Mapping | list | tuple):
        if depth == _DEEPEST - 1:
            raise FrontMatterError(f"the front matter has more than {_DEEPEST} levels; make it flatter")
        for member in value.values() if isinstance(value, Mapping) else value:
            _check_integers(member, depth + 1)
