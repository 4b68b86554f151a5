"""Decides whether a pattern is valid in ECMA-262 with the flag `u`, the dialect of JSON Schema's `pattern`.

An invalid pattern makes clients refuse the tool, and some of them the entire list of tools. The reader follows
the strict grammar of ECMA-262, edition 2018, without its rarer features (Unicode properties other than the
general ones), so only patterns that are surely valid pass.

Easy to get wrong: `\\d`, `\\w`, `\\s`, `\\b` and `.` are valid in both dialects and mean different things. A text
that matches in Python need not match in ECMA-262.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_QUANTIFIER: Final = re.compile(r"(?:[*+?]|\{(\d+)(?:,(\d*))?\})\??")
_GROUP: Final = re.compile(r"\((?:\?(?:[:=!]|<[=!]|<([A-Za-z_$][\w$]*)>))?", re.ASCII)
_ESCAPE: Final = re.compile(
    r"\\(?:[dDwWsS]|[fnrtv]|0(?![0-9])|c[A-Za-z]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|u\{(?:10|0?[0-9A-Fa-f])?[0-9A-Fa-f]{1,4}\}"
    r"|[pP]\{(?:L[lmotu]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?|C[cfn]?|Alphabetic|Any|ASCII"
    r"|(?:Script|sc)=(?:Latin|Greek|Cyrillic|Han|Hiragana|Katakana|Arabic|Hebrew|Thai|Hangul))\}"
    r"|[\^$\\.*+?()\[\]{}|/])"
)
_SET: Final = re.compile(r"\\[dDwWsSpP]")  # stands for many characters, and can bound no range
_BACKWARD: Final = re.compile(r"\\(?:k<([A-Za-z_$][\w$]*)>|([1-9][0-9]*))", re.ASCII)
_LITERAL: Final = re.compile(r"[^\^$\\.*+?()\[\]{}|]")
# Valid in ECMA-262 and in Python, with different meanings.
_DIFFERENT: Final = re.compile(r"\\[dDwWsSbBpP]|\.")


@lru_cache(maxsize=1024)
def is_portable(pattern: str) -> bool:
    """Return whether a pattern is surely valid in ECMA-262 with the flag `u`."""
    try:
        pattern.encode()
        return _PatternReader(pattern).reads()
    except (_RefusedError, UnicodeEncodeError, RecursionError):
        return False


def means_the_same(pattern: str) -> bool:
    """Return whether a pattern surely matches the same texts in ECMA-262 as in Python."""
    return is_portable(pattern) and not _DIFFERENT.search(pattern.replace("\\.", "").replace("\\\\", ""))


class _RefusedError(Exception):
    pass


class _PatternReader:
    """Reads one pattern from left to right.

    Args:
        pattern: the pattern.
    """

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._position = 0
        self._names: list[str] = []
        self._groups = 0
        self._references: list[str | int] = []  # to groups, by name or number

    def reads(self) -> bool:
        self._alternatives()
        if self._position < len(self._text) or len(set(self._names)) < len(self._names):
            return False
        return all(
            reference in self._names if isinstance(reference, str) else reference <= self._groups
            for reference in self._references
        )

    def _alternatives(self) -> None:
        while self._position < len(self._text) and self._text[self._position] != ")":
            if self._text[self._position] == "|":
                self._position += 1
            elif self._term():
                self._quantifier()

    def _term(self) -> bool:
        """Read one term, and return whether it may be repeated."""
        text, start = self._text, self._position
        if text[start] in "^$":
            self._position += 1
            return False
        if text.startswith(("\\b", "\\B"), start):
            self._position += 2
            return False
        if text[start] == "(":
            return self._group()
        if text[start] == "[":
            self._class()
        elif text[start] == ".":
            self._position += 1
        elif back := _BACKWARD.match(text, start):
            self._references.append(back[1] or int(back[2]))
            self._position = back.end()
        elif literal := _ESCAPE.match(text, start) or _LITERAL.match(text, start):
            self._position = literal.end()
        else:
            raise _RefusedError
        return True

    def _group(self) -> bool:
        opening = _GROUP.match(self._text, self._position)
        if opening is None or self._text[opening.end() : opening.end() + 1] in ("?", "*", "+"):
            raise _RefusedError  # `(?` and what ECMA-262 does not know after it
        mark = opening[0]
        if mark == "(" or opening[1]:
            self._groups += 1
        if opening[1]:
            self._names.append(opening[1])
        self._position = opening.end()
        self._alternatives()
        if not self._text.startswith(")", self._position):
            raise _RefusedError
        self._position += 1
        return mark not in ("(?=", "(?!", "(?<=", "(?<!")

    def _quantifier(self) -> None:
        if quantifier := _QUANTIFIER.match(self._text, self._position):
            if quantifier[1] and quantifier[2] and int(quantifier[1]) > int(quantifier[2]):
                raise _RefusedError
            self._position = quantifier.end()

    def _class(self) -> None:
        self._position += 1
        if self._text.startswith("^", self._position):
            self._position += 1
        while not self._text.startswith("]", self._position):
            first = self._class_atom()
            following = self._text[self._position : self._position + 2]
            is_range = following.startswith("-") and following != "-]"
            if is_range:
                self._position += 1
                last = self._class_atom()
                if _SET.match(first) or _SET.match(last) or _code(first) > _code(last):
                    raise _RefusedError
        self._position += 1

    def _class_atom(self) -> str:
        text, start = self._text, self._position
        if start >= len(text):
            raise _RefusedError
        if text[start] != "\\":
            # A doubled punctuator and a bracket within are legal, and mean something else with the flag `v`.
            self._position += 1
            return text[start]
        escape = _ESCAPE.match(text, start) or re.compile(r"\\[b\-]").match(text, start)
        if escape is None:
            raise _RefusedError
        self._position = escape.end()
        return escape[0]


def _code(atom: str) -> int:
    """Return the code point of one character of a class."""
    if atom[0] != "\\" or len(atom) == 1:
        return ord(atom)
    kind = atom[1]
    if kind in "xu":
        return int(atom[2:].strip("{}"), 16)
    if kind == "c":
        return ord(atom[2]) % 32
    return ord({"f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0", "b": "\b"}.get(kind, kind))
