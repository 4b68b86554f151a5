"""URLs of authorization: what may be configured, and how two are compared."""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

#: What a URL is written with (RFC 3986 §2); other characters are percent-encoded in it.
_URL: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def check_url(url: object, name: str) -> str:
    """Return a URL that is safe for authorization: https, or http on this machine (R-617).

    Args:
        name: what the URL is, for the error.

    Raises:
        TypeError: it is no text.
        ValueError: it is no such URL; the text says why.
    """
    if not isinstance(url, str):
        raise TypeError(f"{name} is a URL such as 'https://mcp.example.com/mcp', not {type(url).__name__}")
    fault = _fault_of(url)
    if fault:
        shown = "" if "@" in url else f": {url!r}"  # a password is in no log
        raise ValueError(f"{name} {fault}{shown}")
    return url


def _fault_of(url: str) -> str:
    if not _URL.fullmatch(url):
        return "has spaces, quotation marks or other characters that no URL has"
    parts, host = _split(url)
    if not host or parts.scheme.lower() not in _DEFAULT_PORTS:
        return "is no URL with https:// and a host"
    if parts.username is not None or parts.password is not None:
        return "has credentials in it"
    if parts.fragment or url.endswith("#"):
        return "has a fragment (#...)"
    if parts.scheme.lower() == "http" and not is_loopback_host(host):
        return "needs https:// (http:// is for this machine alone: 127.0.0.1, [::1], localhost)"
    return ""


def _split(url: str) -> tuple[SplitResult, str | None]:
    """Return the parts of a URL and its host; no host for a text that is no URL."""
    try:
        parts = urlsplit(url)
        return parts, parts.hostname if parts.port != 0 else None
    except ValueError:
        return SplitResult("", "", "", "", ""), None


def is_loopback_host(host: str) -> bool:
    """Whether a host of a URL is this machine."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def normalized(url: str) -> str:
    """Return a URL in the form in which two are compared (R-612); what is no URL, as it is.

    Scheme and host are in lower case, the scheme's own port is left out, and so is a slash at the end.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url
    if not parts.scheme or not parts.hostname or "@" in parts.netloc or not _URL.fullmatch(url):
        return url
    return origin_of(parts, port) + parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")


def origin_of(parts: SplitResult, port: int | None) -> str:
    """Return scheme, host and port, without a port that is the scheme's own."""
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS.get(scheme)) else f"{scheme}://{host}:{port}"
