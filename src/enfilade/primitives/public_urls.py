"""URLs that others are told: which can be called safely, and which hosts are known in one network only.

Easy to get wrong: an address in another spelling. `10.1`, `0x0a000001` and `167772161` are addresses for
browsers, so a host whose last label is a number is an address or nothing (WHATWG URL, host parsing).
"""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

#: What a URL is written with (RFC 3986 §2); other characters are percent-encoded in it.
URL: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

#: Ends of names that are no public ones: RFC 6762 appendix G, RFC 8375, and the one that ICANN has reserved.
_INTERNAL: Final = (
    *(".local", ".internal", ".intranet", ".lan", ".home", ".corp", ".private", ".localdomain", ".home.arpa"),
    *(".test", ".invalid"),
)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


def fault_of(url: str) -> str:
    """Return what is wrong with a URL that is called with credentials (R-617); empty if nothing is.

    It has to be https, or http on this machine.
    """
    if not URL.fullmatch(url):
        return "has spaces, quotation marks or other characters that no URL has"
    parts, host = split(url)
    if not host or parts.scheme.lower() not in DEFAULT_PORTS:
        return "is no URL with https:// and a host"
    if parts.username is not None or parts.password is not None:
        return "has credentials in it"
    if parts.fragment or url.endswith("#"):
        return "has a fragment (#...)"
    if parts.scheme.lower() == "http" and not is_loopback_host(host):
        return "needs https:// (http:// is for this machine alone: 127.0.0.1, [::1], localhost)"
    return ""


def split(url: str) -> tuple[SplitResult, str | None]:
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


def is_internal_host(host: str) -> bool:
    """Whether a host of a URL is known in one network only, loopback included."""
    name = host.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(_INTERNAL) or is_loopback_host(name) or _ends_in_number(name)
    mapped = getattr(address, "ipv4_mapped", None)
    return not (address if mapped is None else mapped).is_global


def _ends_in_number(name: str) -> bool:
    return _NUMBER.fullmatch(name.rpartition(".")[2]) is not None


def fault_of_public(url: str) -> str:
    """Return why a URL cannot be told to everybody (X-CARD-2); empty if it can.

    It is https, has no credentials, no query, which may be one, and a host of the public network.
    """
    fault = fault_of(url)
    if fault:
        return fault
    parts, host = split(url)
    if parts.query or "?" in url:
        return "has a query (?...)"
    if parts.scheme.lower() != "https" or host is None or is_internal_host(host):
        return "leads to a host that is known in one network only, such as a private address"
    return ""


def check_public_url(url: str) -> str:
    """Return a URL that everybody may be told, or one of this machine, for trying things out.

    Raises:
        ValueError: it is no such URL; the text says why and what to write.
    """
    _, host = split(url)
    fault = fault_of(url) if host is not None and is_loopback_host(host) else fault_of_public(url)
    if not fault and "?" in url:
        fault = "has a query (?...)"
    if fault:
        shown = "" if "@" in url or "?" in url else f"{url!r} "  # a password is in no log
        raise ValueError(f"{shown}{fault}; write the URL that clients call, such as https://mcp.example.com/mcp")
    return url


def check_web_url(url: str) -> str:
    """Return a URL of a page that everybody may be told.

    Raises:
        ValueError: it is no such URL; the text says why.
    """
    if fault := fault_of_public(url):
        shown = "" if "@" in url or "?" in url else f"{url!r} "
        raise ValueError(f"{shown}{fault}; write one such as https://github.com/ada/notes")
    return url
