"""URLs of authorization: what may be configured, and how two are compared."""

from urllib.parse import SplitResult, urlsplit

from enfilade.primitives.public_urls import DEFAULT_PORTS, URL, fault_of


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
    fault = fault_of(url)
    if fault:
        shown = "" if "@" in url else f": {url!r}"  # a password is in no log
        raise ValueError(f"{name} {fault}{shown}")
    return url


def normalized(url: str) -> str:
    """Return a URL in the form in which two are compared (R-612); what is no URL, as it is.

    Scheme and host are in lower case, the scheme's own port is left out, and so is a slash at the end.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url
    if not parts.scheme or not parts.hostname or "@" in parts.netloc or not URL.fullmatch(url):
        return url
    return origin_of(parts, port) + parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")


def origin_of(parts: SplitResult, port: int | None) -> str:
    """Return scheme, host and port, without a port that is the scheme's own."""
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port in (None, DEFAULT_PORTS.get(scheme)) else f"{scheme}://{host}:{port}"
