"""Checks URIs, and brings equivalent spellings of a URI into one canonical form.

Easy to get wrong: clients do not send back the exact text that was listed. Some write `%7e` for `~` or `%c3` for
`%C3`, some do not escape letters outside ASCII, and neither a scheme nor the host of a web address has a case
(RFC 3986 §6.2.2). So the canonical form is looked up, and the response has the URI as it was requested. In other
schemes the host is often a value whose case matters.
"""

from __future__ import annotations

import re
from typing import Final

from enfilade.startup.lazy import lazy_pattern

#: Nothing longer is looked up; this also bounds the work of matching.
MAX_URI_LENGTH: Final = 8192

_SCHEME: Final = lazy_pattern(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_PAGE: Final = lazy_pattern(r"https?://([^/?#]+)", re.IGNORECASE)
_ILLEGAL: Final = lazy_pattern(r"[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]|%(?![0-9A-Fa-f]{2})")
_HOST: Final = lazy_pattern(r"(https?://(?:[^/?#]*@)?)([^/?#]*)")
_ESCAPE_OR_UPPER: Final = lazy_pattern(r"(%[0-9A-F]{2})|[A-Z]+")
_ESCAPE: Final = lazy_pattern(r"%([0-9A-Fa-f]{2})")
_TO_ESCAPE: Final = lazy_pattern(r"[^\x21-\x7e]")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


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


def canonical(text: str) -> str:
    """Return the canonical form of a URI, or of a part of one."""
    if not text.isascii() or not text.isprintable() or " " in text:
        text = _TO_ESCAPE.sub(_escaped, text)
    if "%" in text:
        text = _ESCAPE.sub(_unescaped, text)
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


def _escaped(character: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in character[0].encode("utf-8", "replace"))


def _unescaped(escape: re.Match[str]) -> str:
    """Return an unreserved character without its escape; other escapes in upper case."""
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()
