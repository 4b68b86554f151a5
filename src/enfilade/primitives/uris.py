"""URIs in one canonical form, and URI templates (RFC 6570) that they are matched against.

Clients do not send back the exact text that was listed. Some write `%7e` for `~` or `%c3` for `%C3`, some do not
escape letters outside ASCII, and neither a scheme nor the host of a web address has a case (RFC 3986 §6.2.2). So
the canonical form is looked up, and the response has the URI as it was requested. In other schemes the host is
often a value whose case matters.

Libraries for RFC 6570 expand templates; a server needs the reverse, which the RFC does not define: the values
whose expansion would be the URI. All operators are supported (`{x}`, `{+x}`, `{#x}`, `{.x}`, `{/x}`, `{;x}`,
`{?x}`, `{&x}`), several variables in one expression and explosion (`{x*}`). A prefix (`{x:3}`) is refused,
because the rest of its value cannot be recovered.

Two extensions of the RFC: `{x*}` also takes several segments of a path, and the members of a query may come in
any order.

Easy to get wrong: time. A text can be divided between adjacent variables in many ways, and a regular expression
would try them all. Here each part is looked at once, from the last to the first: all positions from which the
rest of the template matches are the bits of one integer, so that a step is arithmetic on 1 KiB at most, whatever
the URI is. And a value is decoded only after it was cut out, so `%2F` separates nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

from enfilade.startup.lazy import lazy_pattern

#: Nothing longer is looked up; this also bounds the work of matching.
MAX_URI_LENGTH: Final = 8192

_SCHEME: Final = lazy_pattern(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_PAGE: Final = lazy_pattern(r"https?://([^/?#]+)", re.IGNORECASE)
_ILLEGAL: Final = lazy_pattern(r"[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]|%(?![0-9A-Fa-f]{2})")
_HOST: Final = lazy_pattern(r"(https?://(?:[^/?#]*@)?)([^/?#]*)")
_ESCAPE_OR_UPPER: Final = lazy_pattern(r"(%[0-9A-F]{2})|[A-Z]+")
_ESCAPE: Final = lazy_pattern(r"%([0-9A-Fa-f]{2})")
_TO_ESCAPE: Final = lazy_pattern(r"[^\x21-\x7e]+")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_EXPRESSION: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WEB: Final = re.compile(r"(https?://(?:[^/?#{}]*@)?)((?:\{[^{}]*\}|[^/?#{}])*)", re.IGNORECASE)
_OPERATORS: Final = "+#./;?&"
# Characters at which a value ends; `{+x}` and `{#x}` end only at a query or fragment of the template itself.
_STOPS: Final = {"": "/?#", "/": "/?#", ".": "/?#.", ";": "/?#;"}
# An exploded value includes the separators of its items.
_STOPS_EXPLODED: Final = {"": "?#", "/": "?#", ".": "/?#"}


def check_uri(uri: str) -> None:
    """Refuse a text that is not an absolute URI (R-521).

    Raises:
        ValueError: says what is wrong with it.
    """
    if len(uri) > MAX_URI_LENGTH:
        raise ValueError(f'"{uri[:60]}…" is longer than {MAX_URI_LENGTH} characters')
    check_scheme(uri)
    check_characters(uri, uri)


def check_web_address(url: str) -> None:
    """Check that a user can be sent to an address: a web address without credentials (R-544).

    Raises:
        ValueError: says what is wrong with it, and does not repeat credentials.
    """
    page = _PAGE.match(url)
    if page is None:
        raise ValueError("a page for the user to visit needs a web address, such as https://example.org/sign-in")
    if "@" in page[1]:
        raise ValueError("the address of a page for the user to visit must not hold credentials")
    check_characters(url, url)


def check_scheme(uri: str) -> None:
    """Refuse a text that does not begin with a scheme.

    Raises:
        ValueError: shows the text with one.
    """
    if not _SCHEME.match(uri):
        raise ValueError(f'"{uri}" is no URI: it needs a scheme, as in "resource://{uri.lstrip("/:")}"')


def check_characters(text: str, uri: str) -> None:
    """Refuse characters that a URI cannot have.

    Args:
        text: the part to check.
        uri: the whole, for the error.

    Raises:
        ValueError: names the first such character and how to write it.
    """
    if bad := _ILLEGAL.search(text):
        raise ValueError(f'"{uri}" is no URI: it contains {bad[0]!r}; write it as {_escaped(bad)}')


@lru_cache(maxsize=64)  # each template of a server asks for that of the URI which is looked up
def canonical(text: str) -> str:
    """Return the canonical form of a URI, or of a part of one."""
    if "%" in text:
        text = _ESCAPE.sub(_unescaped, text)
    if not text.isascii() or not text.isprintable() or " " in text:
        text = _TO_ESCAPE.sub(_escaped, text)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return text
    if not scheme[0].islower():
        text = scheme[0].lower() + text[scheme.end() :]
    if host := _HOST.match(text):
        return host[1] + lowered(host[2]) + text[host.end() :]
    return text


def lowered(host: str) -> str:
    """Return a host, or a part of one, in lower case; escapes stay in upper case."""
    return host if host.islower() else _ESCAPE_OR_UPPER.sub(lambda piece: piece[1] or piece[0].lower(), host)


def without_fragment(uri: str) -> str:
    """Return a URI without its fragment, which identifies a part of the resource (RFC 3986 §3.5)."""
    return uri.partition("#")[0]


def _escaped(characters: re.Match[str]) -> str:
    return "%" + characters[0].encode("utf-8", "replace").hex("%").upper()


def _unescaped(escape: re.Match[str]) -> str:
    """Return an unreserved character without its escape; other escapes in upper case."""
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


# -- templates -------------------------------------------------------------------------------------------------


class Variable(NamedTuple):
    """A variable of a template: its name, its operator (empty for none), and whether it is exploded (`*`)."""

    name: str
    operator: str
    exploded: bool

    @property
    def may_be_absent(self) -> bool:
        """Whether a URI can match without the variable."""
        return self.operator not in ("", "+")

    @property
    def separators(self) -> str:
        """The characters that separate the items of a list."""
        return "," + (self.operator or "/") if self.exploded and self.operator in ("", "/", ".") else ","


@lru_cache(maxsize=256)
def _digits(characters: str) -> bytes:
    """Return a table for `bytes.translate` that makes a one of some characters, and a zero of all others."""
    return bytes(b"01"[chr(code) in characters] for code in range(256))


class _Subject:
    """The URI to match. A set of positions in it is an integer: position `p` is the bit `length - p`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.length = len(text)
        self._ascii = text.encode()  # its canonical form has no other characters
        self._marks: dict[str, int] = {}

    def marks(self, characters: str) -> int:
        """Return the positions that have one of some characters."""
        marks = self._marks.get(characters)
        if marks is None:
            marks = self._marks[characters] = int(self._ascii.translate(_digits(characters)), 2) << 1
        return marks

    def texts(self, text: str) -> int:
        """Return the positions at which a text begins; all of them for an empty one."""
        positions = (1 << self.length + 1) - 1
        for offset, character in enumerate(text):
            positions &= self.marks(character) << offset
        return positions

    def runs(self, stops: str, ends: int) -> int:
        """Return the positions before any of `ends` without one of `stops` in between.

        A carry of the addition goes through each run of other characters, from its lowest end on.
        """
        others = (1 << self.length + 1) - 2
        if stops:
            others &= ~self.marks(stops)
        last = (ends << 1) & others
        return ((others + last ^ others) | last) & others

    def end(self, stops: str, begin: int) -> int:
        """Return the first position from `begin` on that has one of `stops`, or the end of the text."""
        before = self.marks(stops) & ((2 << self.length - begin) - 1) if stops else 0
        return self.length - before.bit_length() + 1 if before else self.length

    def last(self, positions: int, most: int) -> int:
        """Return the last of some positions that is at most `most`; -1 if there is none."""
        least = self.length - most
        remaining = positions >> least
        return self.length - least - (remaining & -remaining).bit_length() + 1 if remaining else -1


class _Text(NamedTuple):
    """Literal text."""

    text: str

    def starts(self, subject: _Subject, ends: int) -> int:
        """Return the positions at which the part can start so that it has one of `ends`."""
        if ends == 1:  # the last text: only its own place counts
            start = subject.length - len(self.text)
            return 1 << len(self.text) if start >= 0 and subject.text.endswith(self.text) else 0
        return (ends << len(self.text)) & subject.texts(self.text)

    def cut(self, subject: _Subject, start: int, ends: int) -> tuple[int, int]:
        """Return where the value begins and ends, in the way that is preferred, for a start that has a way."""
        return start, start + len(self.text)


class _Value(NamedTuple):
    """The value of one variable, with its prefix."""

    variable: Variable
    prefix: str
    stops: str

    def starts(self, subject: _Subject, ends: int) -> int:
        starts = (subject.runs(self.stops, ends) << len(self.prefix)) & subject.texts(self.prefix)
        return starts | ends if self.variable.may_be_absent else starts

    def cut(self, subject: _Subject, start: int, ends: int) -> tuple[int, int]:
        if subject.text.startswith(self.prefix, start):
            begin = start + len(self.prefix)
            end = subject.last(ends, subject.end(self.stops, begin))
            if end > begin:
                return begin, end
        return start, start  # it is absent


class _Query(NamedTuple):
    """The members of a query: `?a=1&b=2`, in any order, each of them optional."""

    first: str
    variables: tuple[Variable, ...]

    def starts(self, subject: _Subject, ends: int) -> int:
        ends &= subject.marks("#") | 1
        return ends | (subject.runs("#", ends) & subject.marks(self.first))

    def cut(self, subject: _Subject, start: int, ends: int) -> tuple[int, int]:
        return start, subject.end("#", start)

    def members(self, query: str, any_query: bool) -> dict[str, str] | None:
        """Return the members by name; None if one is unknown, or occurs twice and is not exploded."""
        variables = {variable.name: variable for variable in self.variables}
        members: dict[str, str] = {}
        for member in query[1:].split("&") if query else ():
            name, _, value = member.partition("=")
            if name not in variables and any_query:
                continue
            if name not in variables or (name in members and not variables[name].exploded):
                return None
            # A member for each item of an exploded list is the same as one member with all of them.
            members[name] = f"{members[name]},{value}" if name in members else value
        return members


class UriTemplate:
    """A template that URIs can be matched against.

    Args:
        template: such as `weather://{city}/{day}{?units}`.

    Attributes:
        variables: its variables by name, in order.

    Raises:
        ValueError: it is not a template that can be matched; says why.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        self.variables: dict[str, Variable] = {}
        self._parts: list[_Text | _Value | _Query] = []
        self._check_text()
        text = _canonical_host(template)
        end = 0
        for expression in _EXPRESSION.finditer(text):
            self._add_text(text[end : expression.start()])
            end = expression.end()
            self._add_expression(expression[1], text[end:])
        self._add_text(text[end:])
        self._texts = tuple(part.text for part in self._parts if isinstance(part, _Text))

    def __repr__(self) -> str:
        return f"UriTemplate({self.template!r})"

    def match(self, uri: str, *, any_query: bool = False) -> dict[str, str] | None:
        """Return the values by name, still percent-encoded; None if the URI does not match.

        An absent variable has no entry. A URI with a query member that the template does not name does not match.

        Args:
            uri: the URI.
            any_query: ignore query members that the template does not name, if it has a query.
        """
        if len(uri) > MAX_URI_LENGTH:
            return None
        text = canonical(uri)
        if not self._has_texts(text):
            return None
        subject = _Subject(text)
        ends = self._ends(subject)
        if ends is None:
            return None
        values: dict[str, str] = {}
        position = 0
        for part, following in zip(self._parts, ends, strict=True):
            begin, position = part.cut(subject, position, following)
            raw = text[begin:position]
            if isinstance(part, _Query):
                members = part.members(raw, any_query)
                if members is None:
                    return None
                values.update(members)
            elif isinstance(part, _Value) and raw:
                values[part.variable.name] = raw
        return {name: values[name] for name in self.variables if name in values}

    def _has_texts(self, uri: str) -> bool:
        """Whether a URI has all literal text in order, which most that do not match have not; this is cheap."""
        if not uri.startswith(self._texts[0]):
            return False
        end = 0
        for text in self._texts:
            begin = uri.find(text, end)
            if begin < 0:
                return False
            end = begin + len(text)
        return True

    def _ends(self, subject: _Subject) -> list[int] | None:
        """Return where each part may end so that the remaining parts match; None if the URI does not match."""
        ends = [1]
        for part in reversed(self._parts[1:]):
            starts = part.starts(subject, ends[-1])
            if not starts:
                return None
            ends.append(starts)
        # The first part is the text with the scheme, which the URI begins with.
        if not ends[-1] >> subject.length - len(self._texts[0]) & 1:
            return None
        ends.reverse()
        return ends

    # -- reading the template ----------------------------------------------------------------------------------

    def _check_text(self) -> None:
        text = _EXPRESSION.sub("", self.template)
        if "{" in text or "}" in text:
            raise self._refusal("its braces do not match")
        check_scheme(self.template)
        check_characters(text, self.template)

    def _add_text(self, text: str) -> None:
        if text:
            self._check_goes_on(text)
            self._parts.append(_Text(canonical(text)))

    def _add_expression(self, expression: str, remaining: str) -> None:
        operator = expression[:1] if expression[:1] in _OPERATORS else ""
        variables = [self._variable(name, operator) for name in expression[len(operator) :].split(",")]
        if operator in ("?", "&"):
            self._add_query(operator, variables)
            return
        if operator != "#":
            self._check_goes_on(f"{{{expression}}}")
        for position, variable in enumerate(variables):
            prefix = f";{variable.name}=" if operator == ";" else operator.replace("+", "")
            stops = (_STOPS_EXPLODED if variable.exploded else _STOPS).get(operator)
            if stops is None:
                stops = "".join(mark for mark in "?#" if mark in remaining)
            if operator in ("", "+", "#") and len(variables) > 1:
                prefix, stops = "," if position else prefix, stops + ","
            self._parts.append(_Value(variable, prefix, stops))

    def _variable(self, text: str, operator: str) -> Variable:
        variable = Variable(text.removesuffix("*"), operator, text.endswith("*"))
        if ":" in variable.name:
            raise self._refusal(f'"{text}" asks for the beginning of a value, and its rest cannot be known')
        if not _NAME.fullmatch(variable.name):
            raise self._refusal(f'"{variable.name}" cannot be the name of a parameter')
        if variable.name in self.variables:
            raise self._refusal(f'"{variable.name}" occurs twice')
        if variable.exploded and operator == ";":
            raise self._refusal(f'"{{;{text}}}" cannot be told from several parameters')
        self.variables[variable.name] = variable
        return variable

    def _add_query(self, operator: str, variables: list[Variable]) -> None:
        last = self._parts[-1] if self._parts else None
        if isinstance(last, _Query):  # `{?a}{&b}` is one query
            self._parts[-1] = _Query(last.first, (*last.variables, *variables))
        else:
            self._parts.append(_Query(operator, tuple(variables)))

    def _check_goes_on(self, with_what: str) -> None:
        if any(isinstance(part, _Query) for part in self._parts):
            raise self._refusal(f'only a "{{#fragment}}" can follow its query, not "{with_what}"')

    def _refusal(self, reason: str) -> ValueError:
        return ValueError(f'"{self.template}" is no URI template that can be matched: {reason}')


def _canonical_host(template: str) -> str:
    """Return a template with the host of a web address in lower case, but for the names of variables in it."""
    address = _WEB.match(template)
    if address is None:
        return template
    parts = re.split(r"(\{[^{}]*\})", address[2])
    host = "".join(piece if piece.startswith("{") else lowered(piece) for piece in parts)
    return address[1].lower() + host + template[address.end() :]


def decoded(raw: str) -> str | None:
    """Return a value without its percent-encoding; None if it is not UTF-8 or holds a NUL."""
    try:
        text = unquote(raw, errors="strict")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def escapes_root(value: str) -> bool:
    """Return whether a value, used as a path, would leave its directory: by `..`, or as an absolute path."""
    steps = re.split(r"[/\\]", value)
    absolute = len(steps) > 1 and (steps[0] == "" or re.fullmatch("[A-Za-z]:", steps[0]) is not None)
    return ".." in steps or absolute
