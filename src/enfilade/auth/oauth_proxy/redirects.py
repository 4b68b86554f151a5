"""Redirect URIs of clients: which may be registered, and when one is that of a request (RFC 8252, RFC 9700).

Compared as texts, exactly; only the port of a loopback URI may be another one, because a native client takes
whichever is free. Easy to get wrong: schemes that a browser itself runs or opens, such as `javascript:`. A scheme
is allowed that has a dot, as those that derive from a domain, or that a well-known client has.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import urlsplit

from enfilade.primitives.public_urls import URL

#: Characters of a redirect URI.
MOST_CHARACTERS: Final = 1024
#: Schemes of well-known hosts of MCP that have no dot.
CLIENT_SCHEMES: Final = frozenset(
    (
        *("claude", "cursor", "goose", "jetbrains", "kiro", "lmstudio", "raycast", "vscode", "vscode-insiders"),
        *("vscodium", "warp", "windsurf", "zed"),
    )
)
_LOOPBACK: Final = frozenset(("127.0.0.1", "::1", "localhost"))
#: RFC 8252 §7.1: the name of a domain in reverse order, such as `com.example.app`.
_DOTTED_SCHEME: Final = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9-]+)+")
_PORT: Final = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::[0-9]{1,5})?(?=[/?]|$)")


def fault_of_redirect(uri: object, schemes: Collection[str] = CLIENT_SCHEMES) -> str:
    """Return what is wrong with a redirect URI; empty if nothing is.

    Args:
        schemes: private-use schemes without a dot that are allowed.
    """
    if not isinstance(uri, str) or not 0 < len(uri) <= MOST_CHARACTERS:
        return f"is no text of 1 to {MOST_CHARACTERS} characters"
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no URI"
    if not URL.fullmatch(uri) or "#" in uri or "@" in parts.netloc:
        return "has characters that no URI has, a fragment, or credentials in it"
    scheme = uri.partition(":")[0]
    if scheme == "https":
        return "" if host else "has no host"
    if scheme == "http":
        is_local = host in _LOOPBACK and _PORT.match(uri) is not None
        return "" if is_local else "needs https (http is for loopback addresses alone)"
    is_private = scheme in schemes or _DOTTED_SCHEME.fullmatch(scheme) is not None
    return "" if is_private else "has a scheme that is neither https nor a client's own, as com.example.app"


def is_registered(uri: str, registered: Iterable[str]) -> bool:
    """Whether a redirect URI is one of those of a client; a loopback URI with any port (RFC 8252 §7.3)."""
    without_port = _without_port(uri)
    return any(uri == each or (is_loopback(uri) and without_port == _without_port(each)) for each in registered)


def is_loopback(uri: str) -> bool:
    """Whether a valid redirect URI leads to the machine of the user."""
    return uri.startswith("http:")


def destination(uri: str) -> str:
    """Return where a valid redirect URI leads, for people: a host, this machine, or an app."""
    if is_loopback(uri):
        return "a program on this computer"
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme == "https" else f"the app that opens {parts.scheme}: links"


def _without_port(uri: str) -> str:
    return _PORT.sub(r"\1", uri, count=1)
